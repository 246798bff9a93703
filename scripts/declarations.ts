/** Reads declarations as the compiler writes them. */

import { readFile } from 'node:fs/promises'
import { join } from 'node:path'

/** The files that these files refer to, and themselves: paths of `.d.ts` in a folder. */
export async function reachable(folder: string, from: readonly string[]): Promise<Set<string>> {
  const found = new Set<string>()
  const visit = async (path: string): Promise<void> => {
    if (found.has(path)) return
    found.add(path)
    const text = await readFile(join(folder, path), 'utf8')
    await Promise.all(importsOf(text, path).map(visit))
  }
  await Promise.all(from.map(visit))
  return found
}

/** The declarations that one imports: what follows `from`, and stands in `import()`. */
function importsOf(text: string, path: string): string[] {
  const named = text.matchAll(/(?:\bfrom |\bimport\(|^import )["'](\.[^"']+)\.[jt]s["']/gm)
  return [...named].map(([, from = '']) => `${join(path, '..', from)}.d.ts`)
}
