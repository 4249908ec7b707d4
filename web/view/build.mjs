// Builds the page of `glic view` in glic_deploy/web_page, from which the Python package serves it: the page, the look
// and the viewer of the report, and the library that `npm run build` has written to dist/.
import { cp, mkdir, rm } from "node:fs/promises";
import { build } from "esbuild";

const PAGE = "../glic_deploy/web_page";
const REPORT = "../glic_deploy/report";

await rm(PAGE, { recursive: true, force: true });
await mkdir(PAGE, { recursive: true });
await build({
  entryPoints: ["view/view.ts"],
  outdir: PAGE,
  bundle: true,
  minify: true,
  format: "esm",
  target: "es2022",
  logLevel: "warning",
  plugins: [
    {
      name: "library", // stays in files of its own, which the worker shares
      setup: ({ onResolve }) =>
        onResolve({ filter: /^@glic\/decoder$/ }, () => ({ path: "./glic/index.js", external: true })),
    },
  ],
});
for (const file of ["view/index.html", "view/view.css", `${REPORT}/look.css`]) {
  await cp(file, `${PAGE}/${file.split("/").at(-1)}`);
}
await cp("dist", `${PAGE}/glic`, { recursive: true, filter: (path) => !/^dist\/(types|test)/.test(path) });
