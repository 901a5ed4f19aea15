/* Builds the page: `node build.mjs` writes dist/, `--debug` without minifying, `--tests` bundles test/ for node's test runner.
 *
 * dist/assets/NAME-HASH.EXT never change (the hash is that of their content); the other files may. Beside each text stands
 * its gzip form when that is smaller; cmake/embed-page.cmake puts both into the binary. */
import { build } from 'esbuild';
import { readdirSync, readFileSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';

const root = dirname(fileURLToPath(import.meta.url));
const debug = process.argv.includes('--debug');
const target = ['chrome109', 'firefox115', 'safari16'];
const jsx = { jsx: 'automatic', jsxImportSource: 'preact' };

async function buildTests() {
  const out = join(root, 'node_modules/.tests');
  rmSync(out, { recursive: true, force: true });
  const files = readdirSync(join(root, 'test')).filter((name) => name.endsWith('.test.ts'));
  await build({
    entryPoints: files.map((name) => join(root, 'test', name)),
    outdir: out,
    outExtension: { '.js': '.mjs' },
    bundle: true,
    platform: 'node',
    format: 'esm',
    target: 'node18',
    sourcemap: 'inline',
    ...jsx,
  });
}

async function buildPage() {
  const dist = join(root, 'dist');
  rmSync(dist, { recursive: true, force: true });
  mkdirSync(dist);
  const common = {
    absWorkingDir: root,
    outdir: 'dist/assets',
    entryNames: '[name]-[hash]',
    chunkNames: '[name]-[hash]',
    bundle: true,
    minify: !debug,
    sourcemap: debug ? 'inline' : false,
    legalComments: 'none',
    target,
    metafile: true,
    alias: { entities: './src/text/entities.ts' },
    ...jsx,
  };
  const page = await build({ ...common, entryPoints: ['src/main.tsx'], format: 'esm', splitting: true });
  const theme = await build({ ...common, entryPoints: ['src/theme.ts'], format: 'iife' });
  const outputs = Object.keys({ ...page.metafile.outputs, ...theme.metafile.outputs }).map((path) => basename(path));
  const named = (start, end) => {
    const name = outputs.find((n) => n.startsWith(start) && n.endsWith(end));
    if (!name) throw new Error(`the build made no ${start}*${end}`);
    return `/assets/${name}`;
  };
  const html = readFileSync(join(root, 'static/index.html'), 'utf8')
    .replace('%MAIN%', named('main-', '.js'))
    .replace('%STYLE%', named('main-', '.css'))
    .replace('%THEME%', named('theme-', '.js'));
  writeFileSync(join(dist, 'index.html'), html);
  for (const name of readdirSync(join(root, 'static'))) {
    if (name !== 'index.html') writeFileSync(join(dist, name), readFileSync(join(root, 'static', name)));
  }
  compress(dist);
}

function compress(dir) {
  for (const entry of readdirSync(dir, { withFileTypes: true })) {
    const path = join(dir, entry.name);
    if (entry.isDirectory()) {
      compress(path);
      continue;
    }
    const bytes = readFileSync(path);
    const packed = gzipSync(bytes, { level: 9 });
    if (packed.length < bytes.length) writeFileSync(`${path}.gz`, packed);
    console.log(`${String(bytes.length).padStart(8)} ${String(packed.length).padStart(7)} gz  ${path.slice(root.length + 1)}`);
  }
}

await (process.argv.includes('--tests') ? buildTests() : buildPage());
