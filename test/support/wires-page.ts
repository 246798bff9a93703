/** The formats of docs/wires.md, as they stand on the page. */

import { transformSync } from 'esbuild'
import { readFile } from 'node:fs/promises'
import { runInThisContext } from 'node:vm'
import type { FramesOptions } from '../../src/index.ts'

const page = await readFile(new URL('../../docs/wires.md', import.meta.url), 'utf8')

/** The functions of the page, by the names that its formats use. */
export const functions: Readonly<Record<string, unknown>> = (() => {
  const blocks = [...page.matchAll(/^```ts\n([^]*?)^```/gm)].map(([, code]) => code!)
  const { code } = transformSync(blocks.join('\n'), { loader: 'ts' })
  const names = [...code.matchAll(/^(?:function|const|let) (\w+)/gm)].map(([, name]) => name!)
  return runInThisContext(`(() => { ${code}; return { ${names.join(', ')} } })()`) as Record<
    string,
    unknown
  >
})()

/** A section of the page: its code, what it says, and the options that it shows. */
export interface PageFormat {
  readonly name: string
  readonly code: string
  readonly says: string
  readonly options: FramesOptions
}

export const formats: readonly PageFormat[] = [
  ...page.matchAll(/^### (.+)\n\n```js\n([^]*?)```\n([^#]*)/gm),
].map(([, name, code, says]) => ({
  name: name!,
  code: code!,
  says: says!,
  options: optionsOf(code!),
}))

/** The options of a format by its name. */
export function formatOf(name: string): FramesOptions {
  const found = formats.find((one) => one.name === name)
  if (!found) throw new Error(`docs/wires.md has no ${name}`)
  return found.options
}

function optionsOf(code: string): FramesOptions {
  const names = Object.keys(functions)
  const hex = (text: string): Buffer => Buffer.from(text, 'hex')
  const frames = (options: FramesOptions): FramesOptions => options
  const expression = code.replace('// prettier-ignore\n', '').trim()
  const read = runInThisContext(`((hex, frames, ${names.join(', ')}) => (${expression}))`) as (
    ...given: unknown[]
  ) => FramesOptions
  return read(hex, frames, ...names.map((name) => functions[name]))
}
