/** Each format of docs/wires.md, read from the page and run with its frames. */

import test from 'ava'
import { transformSync } from 'esbuild'
import { readFile } from 'node:fs/promises'
import type { FramesOptions } from '../src/index.ts'
import { checkValues } from './fixtures/wires/checksums.ts'
import { vectors } from './fixtures/wires/vectors.ts'
import { decodeFrames, encodeFrame, everyCut, singly } from './support/frame-input.ts'

const mostLines = 10
const leastFormats = 60
const page = await readFile(new URL('../docs/wires.md', import.meta.url), 'utf8')

/** The functions of the page, by the names that its formats use. */
const functions = (() => {
  const blocks = [...page.matchAll(/^```ts\n([^]*?)^```/gm)].map(([, code]) => code!)
  const { code } = transformSync(blocks.join('\n'), { loader: 'ts' })
  const names = [...code.matchAll(/^(?:function|const|let) (\w+)/gm)].map(([, name]) => name!)
  const make = new Function(`${code}; return { ${names.join(', ')} }`) as () => Record<
    string,
    unknown
  >
  return make()
})()

/** The sections of the page, each with the options that it shows. */
const formats = [...page.matchAll(/^### (.+)\n\n```js\n([^]*?)```/gm)].map(([, name, code]) => ({
  name: name!,
  code: code!,
}))

function optionsOf(code: string): FramesOptions {
  const names = Object.keys(functions)
  const hex = (text: string): Buffer => Buffer.from(text, 'hex')
  const frames = (options: FramesOptions): FramesOptions => options
  const expression = code.replace('// prettier-ignore\n', '')
  const read = new Function('hex', 'frames', ...names, `return ${expression}`) as (
    ...given: unknown[]
  ) => FramesOptions
  return read(hex, frames, ...names.map((name) => functions[name]))
}

test('the page has the formats of the vectors, and no other', (t) => {
  t.true(formats.length >= leastFormats)
  t.deepEqual(
    formats.map(({ name }) => name),
    vectors.map(({ name }) => name),
  )
})

test('the checksums of the page have the values of the catalogue', (t) => {
  const found = Object.entries(checkValues).filter(([name]) => name in functions)
  t.true(found.length > 6)
  for (const [name, value] of found) {
    t.is((functions[name] as (bytes: Uint8Array) => number)(Buffer.from('123456789')), value, name)
  }
})

for (const { name, code } of formats) {
  test(`${name}: the options of the page read and send its frames`, (t) => {
    t.true(code.trimEnd().split('\n').length <= mostLines, 'at most ten lines')
    const vector = vectors.find((one) => one.name === name)!
    const options = optionsOf(code)
    for (const [index, frame] of vector.frames.entries()) {
      const payload = vector.payloads[index]!
      const three = Buffer.from(frame.repeat(3), 'hex')
      for (const chunks of [[three], singly(three), ...everyCut(three)]) {
        const { frames: found, error } = decodeFrames(options, chunks)
        t.is(error, undefined)
        t.deepEqual(found, [payload, payload, payload])
      }
      const sent = encodeFrame(options, Buffer.from(payload, 'hex'))
      t.deepEqual(decodeFrames(options, [sent]).frames, [payload])
      if (vector.encodes !== false) t.is(sent.toString('hex'), frame)
    }
  })
}
