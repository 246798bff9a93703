/** Writes the bundled page into `dist/page/`: a part of `prepack`. */

import { mkdir, writeFile } from 'node:fs/promises'
import { bundlePage } from './bundle-page.ts'

const folder = new URL('../dist/page/', import.meta.url)
const { script, style } = await bundlePage()
await mkdir(folder, { recursive: true })
await writeFile(new URL('page.js', folder), script)
await writeFile(new URL('page.css', folder), style)
