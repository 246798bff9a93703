/** `cio replay`: replays a recording into an application, and shows where the answers differ. */

import { writeFile } from 'node:fs/promises'
import { basename, dirname, join, relative } from 'node:path'
import type { EndReason } from '../src/index.ts'
import type { Replayed } from '../src/testing.ts'
import { appOf, importQuietly } from './app-file.ts'
import { type Command, UsageError, defineCommand, durationOf } from './command.ts'
import { exitCodes } from './failure.ts'
import { paint, progress } from './terminal.ts'

/** Ends that need no test. */
const ordinary: readonly EndReason[] = ['remote_ended', 'served', 'drained', 'nothing_said']

export const replay: Command = defineCommand({
  name: 'replay',
  says: 'replays a recording into an application, and shows where the answers differ',
  usage: '<recording> --app <file>',
  prose: `\`record\` makes the recordings. The application is imported as \`cio inspect\` does it, and gets the
recorded input in memory: without a socket, with the recorded peer. Its handlers really run.
It exits 0 if the answers and the end are those of the recording, and otherwise 1.`,
  options: {
    app: { type: 'string', value: 'file', says: 'the file that exports the app' },
    export: { type: 'string', value: 'name', says: 'which export is the app' },
    timeout: { type: 'string', value: 'ms', says: 'how long to wait for a recorded answer (1000)' },
    test: {
      type: 'boolean',
      says: 'writes a test beside the recording, which fails until the bug is fixed',
    },
    json: { type: 'boolean', says: 'prints JSON, for programs' },
  },
  examples: [
    'cio replay captures/4711.cio --app app.ts',
    'cio replay captures/4711.cio --app app.ts --test',
  ],
  async run([file, ...others], { app: from, export: name, timeout, test = false, json = false }) {
    if (file === undefined || others.length > 0) throw new UsageError('it takes one recording')
    if (from === undefined) throw new UsageError('--app is missing: the file that exports the app')
    const patience = durationOf('timeout', timeout) ?? 1_000
    const app = appOf(await progress(`importing ${from}`, importQuietly(from)), from, name)
    const { replay: run } = await import('../src/testing.ts')
    const replayed = await run(file, app, { timeout: patience })
    process.stdout.write(json ? `${toJson(replayed)}\n` : inWords(file, replayed))
    if (test) await writeTest(file, from, name, replayed)
    return isSame(replayed) ? exitCodes.fine : exitCodes.failed
  },
})

function isSame({ differs, end, recorded }: Replayed): boolean {
  return differs === undefined && end.reason === recorded.reason
}

function inWords(file: string, { differs, end, recorded }: Replayed): string {
  const [then, now] = [recorded, end].map(({ reason, step }) => {
    return `${reason}@${quoted(step).slice(1, -1)}`
  })
  const ends =
    then === now ? `ended as in the recording: ${now}` : `ended then: ${then}; now: ${now}`
  const lines = [`${paint('bold', file, process.stdout)}: ${ends}`]
  if (end.error && !ordinary.includes(end.reason)) lines.push(`  ${quoted(end.error.message)}`)
  if (!differs) return [...lines, 'the answers are the same', ''].join('\n')
  const { offset, recorded: before, sent } = differs
  return [
    ...lines,
    `the answers differ after ${offset} bytes`,
    `  then: ${before.length === 0 ? 'nothing more' : quoted(before.toString('latin1'))}`,
    `  now:  ${sent.length === 0 ? 'nothing more' : quoted(sent.toString('latin1'))}`,
    '',
  ].join('\n')
}

/** As JSON: bytes of a peer must not reach a terminal unescaped. */
function quoted(text: string): string {
  return JSON.stringify(text).replace(
    /[\u007f-\u{10ffff}]/gu,
    (one) => `\\u${one.charCodeAt(0).toString(16).padStart(4, '0')}`,
  )
}

function toJson({ differs, end, recorded, sent }: Replayed): string {
  const { reason, by, step, code } = end
  return JSON.stringify({
    recorded,
    end: { reason, by, step, code },
    sent: sent.toString('base64'),
    differs: differs && {
      offset: differs.offset,
      recorded: differs.recorded.toString('base64'),
      sent: differs.sent.toString('base64'),
    },
  })
}

function literal(text: string): string {
  return `'${JSON.stringify(text).slice(1, -1).replaceAll('\\"', '"').replaceAll("'", "\\'")}'`
}

/** The test requires what fails now: the recorded answers, or otherwise an ordinary end. */
async function writeTest(
  file: string,
  from: string,
  name: string | undefined,
  { differs, end, recorded }: Replayed,
): Promise<void> {
  const claims: string[] = []
  if (differs) claims.push("t.is(differs, undefined, 'the answers are those of the recording')")
  if (end.reason !== recorded.reason) claims.push(`t.is(end.reason, '${recorded.reason}')`)
  else if (!ordinary.includes(end.reason)) claims.push(`t.not(end.reason, '${end.reason}')`)
  if (claims.length === 0) {
    throw new Error(
      `there is nothing to test: ${file} ends ordinarily, and the answers are the same`,
    )
  }
  // An app in JavaScript may have nothing that runs TypeScript. `.mjs` is a module in any package.
  const isTyped = /\.[cm]?ts$/.test(from)
  const test = join(dirname(file), `${basename(file, '.cio')}.test.${isTyped ? 'ts' : 'mjs'}`)
  const path = relative(dirname(test), from).replaceAll('\\', '/')
  const module = literal(path.startsWith('.') ? path : `./${path}`)
  const app = name === undefined ? '(module.default ?? module.app)' : `module[${literal(name)}]`
  const recording = literal(basename(file))
  const text = `import test from 'ava'
${isTyped ? "import type { Cio } from 'cio'\n" : ''}import { replay } from 'cio/testing'
import { fileURLToPath } from 'node:url'
import * as imported from ${module}

test(${literal(`${basename(file)} is answered`)}, async (t) => {
  const module${isTyped ? ': Record<string, unknown>' : ''} = imported
  const recording = fileURLToPath(new URL(${recording}, import.meta.url))
  const { ${claims.some((claim) => claim.includes('differs')) ? 'differs, ' : ''}end } = await replay(recording, ${app}${isTyped ? ' as Cio' : ''})
  t.log(end)
  ${claims.join('\n  ')}
})
`
  // Never overwrites a test, which may have been edited.
  await writeFile(test, text, { flag: 'wx' })
  process.stderr.write(`wrote ${test}\n`)
}
