"""The style sheet of report.html: dark text on light, one column on a phone, printable."""

CSS = """
:root { color-scheme: light; --ink: #1c1e21; --soft: #5b6168; --line: #d9dce0; --pale: #f6f7f8; }
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body { margin: 0 auto; padding: 2.5rem 1.25rem 4rem; max-width: 64rem; color: var(--ink);
  background: #fff; font: 1rem/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans",
  "Helvetica Neue", Arial, sans-serif; }
h1 { margin: 0 0 .75rem; font-size: 1.9rem; line-height: 1.2; letter-spacing: -.01em; }
h2 { margin: 3rem 0 1rem; padding-bottom: .3rem; border-bottom: 1px solid var(--line);
  font-size: 1.3rem; }
h3 { margin: 0 0 .4rem; font-size: .95rem; }
h1, li, dd, td, th, figcaption { overflow-wrap: anywhere; }
.kind { margin: 0 0 .25rem; color: var(--soft); font-size: .85rem; }
.summary { margin: 0 0 1rem; padding: 0; list-style: none; }
nav { display: flex; flex-wrap: wrap; gap: .25rem 1.25rem; font-size: .9rem; }
a { color: #0059a8; text-decoration: none; }
a:hover, a:focus { text-decoration: underline; }
.scroll { position: relative; margin: 0 0 1rem; overflow-x: auto; }
table { border-collapse: collapse; font-size: .875rem; font-variant-numeric: tabular-nums; }
.caption { margin: 0 0 .6rem; max-width: 46rem; color: var(--soft); font-size: .875rem; }
.scroll + .caption { margin-top: 2.25rem; }
th, td { padding: .3rem 1.4rem .3rem 0; text-align: left; vertical-align: top; font-weight: 400;
  overflow-wrap: normal; white-space: nowrap; }
thead th { border-top: 2px solid var(--ink); border-bottom: 1px solid var(--ink);
  font-weight: 600; }
tbody tr:last-child > * { border-bottom: 2px solid var(--ink); }
tbody tr:not(:first-child) > .group { padding-top: .7rem; }
.group { color: var(--soft); font-weight: 600; }
.n { text-align: right; }
.n sup { position: absolute; line-height: 1.4; }
th:last-child, td:last-child { padding-right: .7rem; }
/* While the numbers scroll on a narrow screen, what they are stays in sight. */
tbody th[scope=row], .group span { position: sticky; left: 0; background: #fff; }
.failures td:last-child { min-width: 20rem; white-space: normal; overflow-wrap: anywhere; }
.better { color: #00674b; } .worse { color: #a83f00; }
.note, .footnotes { color: var(--soft); font-size: .85rem; }
.footnotes { margin: 0 0 1rem; padding: 0; list-style: none; }
sup { line-height: 0; font-size: .75em; }
.figures { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 24rem), 1fr));
  gap: 2rem 1.75rem; }
figure { margin: 0; }
figure img { display: block; width: 100%; height: auto; }
figcaption { margin-top: .4rem; color: var(--soft); font-size: .85rem; }
figcaption b { color: var(--ink); }
.facts { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 18rem), 1fr));
  gap: 1.5rem 2rem; margin-bottom: 1.5rem; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .1rem 1rem; margin: 0;
  font-size: .875rem; font-variant-numeric: tabular-nums; }
dt { color: var(--soft); } dd { margin: 0; }
details { margin: 1rem 0; } summary { cursor: pointer; }
details > :nth-child(2) { margin-top: .8rem; }
pre { padding: .9rem 1rem; overflow-x: auto; background: var(--pale); border-radius: 4px;
  font: .8rem/1.5 ui-monospace, "SF Mono", Menlo, Consolas, monospace; }
@media (max-width: 36rem) {
  body { padding-top: 1.5rem; } h1 { font-size: 1.5rem; } h2 { margin-top: 2.25rem; }
  th, td { padding-right: 1rem; }
}
@media print { body { max-width: none; padding: 0; } nav { display: none; }
  figure, tr { break-inside: avoid; } }
"""
