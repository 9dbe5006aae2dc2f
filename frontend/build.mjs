// Bundle the card into the integration. What comes out depends on the source and on the locked
// versions only: no dates, no paths.
import { build, transform } from "esbuild";
import { mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { minify } from "terser";

const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const outdir = process.argv[2] ?? here("../custom_components/jk_bms/frontend");

/** Style sheets are minified, and imported as strings. */
const styleSheets = {
  name: "style-sheets",
  setup({ onLoad }) {
    onLoad({ filter: /\.css$/ }, async ({ path }) => {
      const source = await readFile(path, "utf8");
      const { code } = await transform(source, { loader: "css", minify: true });
      return { contents: code.trim(), loader: "text" };
    });
  },
};

/** The templates' indentation is not shipped, and words only as one object. */
const source = {
  name: "source",
  setup({ onLoad }) {
    onLoad({ filter: /\/src\/[^/]*\.ts$/ }, async ({ path }) => ({
      contents: (await readFile(path, "utf8")).replace(/\n\s+/g, "\n"),
      loader: "ts",
    }));
    onLoad({ filter: /\/words\/.*\.json$/ }, async ({ path }) => ({
      contents: `export default ${await readFile(path, "utf8")}`,
      loader: "js",
    }));
  },
};

/** The entry finds the main module at run time, by an address that only it knows. */
const mainModule = {
  name: "main-module",
  setup({ onResolve }) {
    onResolve({ filter: /^\.\/main\.js/ }, ({ path }) => ({ path, external: true }));
  },
};

const options = {
  absWorkingDir: here("."),
  outdir,
  write: false,
  bundle: true,
  charset: "utf8",
  format: "esm",
  legalComments: "none",
  minify: true,
  target: "es2022",
  banner: { js: "// Built from frontend/ by scripts/frontend: do not edit." },
};

const entry = await build({
  ...options,
  entryPoints: { "jk-bms": "src/entry.ts" },
  plugins: [mainModule],
});
const main = await build({
  ...options,
  entryPoints: { main: "src/main.ts" },
  // Each language is a file of its own, of which a page loads one; so is what makes the dashboard.
  splitting: true,
  chunkNames: "[name]-[hash]",
  plugins: [styleSheets, source],
});

await rm(outdir, { recursive: true, force: true });
await mkdir(outdir, { recursive: true });
for (const { path, text } of [...entry.outputFiles, ...main.outputFiles]) {
  // Gets it 2 % smaller than esbuild alone.
  const { code } = await minify(text, {
    module: true,
    ecma: 2020,
    compress: { passes: 3, pure_getters: true },
    format: { comments: /Built from/ },
  });
  await writeFile(path, `${code}\n`);
}
