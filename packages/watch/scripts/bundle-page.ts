/** Bundles the page: Preact, uPlot, the script and the style, into one file each. */

import { build, stop } from 'esbuild'
import { fileURLToPath } from 'node:url'

const folder = fileURLToPath(new URL('../page', import.meta.url))

export async function bundlePage(): Promise<{ script: string; style: string }> {
  const { outputFiles } = await build({
    absWorkingDir: folder,
    entryPoints: ['main.tsx', 'page.css'],
    outdir: 'page',
    write: false,
    bundle: true,
    minify: true,
    format: 'esm',
    target: 'es2022',
    jsx: 'automatic',
    jsxImportSource: 'preact',
    legalComments: 'inline',
  })
  // Its process would stay as long as this one.
  await stop()
  const text = (ending: string): string =>
    outputFiles.find(({ path }) => path.endsWith(ending))?.text ?? ''
  return { script: text('.js'), style: text('.css') }
}
