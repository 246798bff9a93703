/**
 * Writes test/snapshots/public-types.txt: what each door of the package exports, and the declaration of
 * each name that can be seen there. A change of the surface is a change of that file. `npm run api`.
 */

import { writeFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { publicTypes } from './declarations.ts'

const snapshot = new URL('../test/snapshots/public-types.txt', import.meta.url)
await writeFile(fileURLToPath(snapshot), await publicTypes())
