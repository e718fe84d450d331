// Anchor and method over one another, with a slider between them.
function sliders() {
  for (const figure of document.querySelectorAll('figure.kept')) {
    const [, anchor, method] = figure.querySelectorAll('.look');
    const [under, over] = [anchor, method].map((look) => {
      const frame = look.querySelector('.frame').cloneNode(true);
      frame.querySelector('img').alt = '';
      return frame;
    });
    over.classList.add('over');
    const box = document.createElement('div');
    box.className = 'compare';
    box.append(under, over);
    const range = document.createElement('input');
    range.type = 'range';
    range.value = 50;
    const names = [anchor, method].map((look) => look.querySelector('img').alt);
    range.setAttribute('aria-label', `Left of the line ${names[0]}, right of it ${names[1]}`);
    const show = () => { over.style.clipPath = `inset(0 0 0 ${range.value}%)`; };
    range.addEventListener('input', show);
    show();
    figure.querySelector('.looks').before(box, range);
  }
}
