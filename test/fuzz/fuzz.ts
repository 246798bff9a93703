/**
 * Fuzzes the parsers: `npm run fuzz -- --seconds 60 --seed 1 --target cbor`. An input that shows a
 * fault is kept in `test/fuzz/seeds/`, and is tried again by each run and by the test suite.
 */

import { appendFile, readFile } from 'node:fs/promises'
import { parseArgs } from 'node:util'
import { type Target, costs, look, mutate } from './engine.ts'
import { seeded } from '../../src/testing/random.ts'
import { targets } from './targets.ts'

const folder = new URL('seeds/', import.meta.url)
const memoryEvery = 500
const round = 20

/** The inputs of a target that showed a fault before. */
export async function keptSeeds({ name }: Target): Promise<Buffer[]> {
  const text = await readFile(new URL(`${name}.txt`, folder), 'utf8').catch(() => '')
  return text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => Buffer.from(line, 'hex'))
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      seconds: { type: 'string', default: '60' },
      seed: { type: 'string', default: String(Date.now() % 1e9) },
      target: { type: 'string' },
    },
  })
  const chosen = targets.filter(({ name }) => !values.target || name === values.target)
  const random = seeded(Number(values.seed))
  const until = performance.now() + 1_000 * Number(values.seconds)
  const counts = new Map<string, number>()
  let findings = 0
  const report = async (target: Target, input: Buffer, memory: boolean): Promise<void> => {
    const count = (counts.get(target.name) ?? 0) + 1
    counts.set(target.name, count)
    const found = await look(target, input, random, memory)
    if (!found) return
    findings += 1
    console.log(`${found.target}: ${found.what}\n  ${found.input.toString('hex')}`)
    await appendFile(new URL(`${found.target}.txt`, folder), `${found.input.toString('hex')}\n`)
  }
  for (const target of chosen) {
    for (const input of await keptSeeds(target)) await report(target, input, true)
  }
  while (performance.now() < until) {
    for (const target of chosen) {
      for (let run = 0; run < round && performance.now() < until; run++) {
        const input = mutate(target.seeds, random)
        await report(target, input, (counts.get(target.name) ?? 0) % memoryEvery === 0)
      }
    }
  }
  for (const target of chosen) {
    const { name } = target
    const { microseconds, kept } = await costs(target, random)
    const memory = kept === undefined ? '' : `, keeps ${kept.toFixed(1)} bytes a byte`
    console.log(
      `${name}: ${counts.get(name) ?? 0} inputs, ${microseconds.toFixed(2)} µs a byte${memory}`,
    )
  }
  console.log(`${findings} findings, with seed ${values.seed}`)
  process.exitCode = findings > 0 ? 1 : 0
}

if (process.argv[1] && import.meta.url.endsWith(process.argv[1].split(/[/\\]/).at(-1)!))
  await main()
