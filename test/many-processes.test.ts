/** What docs/guide/many-processes.md shows: its units, its programs and its configuration run. */

import test, { type ExecutionContext } from 'ava'
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import type { Socket } from 'node:net'
import { availableParallelism, tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { ownPort } from './support/ports.ts'
import { activate, connectOnce, hasSocketActivate } from './support/socket-activation.ts'
import { typescript } from './support/typescript.ts'

const root = new URL('..', import.meta.url)
const page = readFileSync(new URL('docs/guide/many-processes.md', root), 'utf8')
const withSystemd = hasSocketActivate ? test : test.skip
if (!hasSocketActivate) console.warn('many-processes: a test needs `systemd-socket-activate`')

/** The code block of the page that has this text. */
function block(fence: string, text: string): string {
  const blocks = [...page.matchAll(/^```(.*)\n([^]*?)^```$/gm)]
  const found = blocks.find(([, kind, code]) => kind === fence && code!.includes(text))
  if (!found) throw new Error(`no ${fence} with ${text}`)
  return found[2]!
}

/** The value of a setting of a unit. */
function setting(unit: string, name: string): string {
  return new RegExp(`^${name}=(.*)$`, 'm').exec(unit)![1]!
}

/** The folder of the programs of the page. */
function folder(t: ExecutionContext): string {
  const directory = mkdtempSync(join(tmpdir(), 'cio-processes-'))
  t.teardown(() => rmSync(directory, { recursive: true, force: true }))
  const cio = new URL('src/index.ts', root).href
  const from = (code: string): string =>
    code.replace("'cio'", `'${cio}'`).replace("'server.js'", `'${directory}/server.mts'`)
  const server = from(block('ts', '// server.js'))
  const behind = server
    .replace('inherited, lines', 'inherited, lines, proxyProtocol')
    .replace('const server', `${block('ts fragment', 'proxyProtocol(').trim()}\nconst server`)
  writeFileSync(join(directory, 'server.mts'), server)
  writeFileSync(join(directory, 'behind.mts'), behind)
  writeFileSync(join(directory, 'workers.mts'), from(block('ts fragment', '// workers.ts')))
  return directory
}

interface Running {
  readonly child: ChildProcess
  readonly lines: string[]
  readonly until: (text: string, times?: number) => Promise<void>
}

function run(t: ExecutionContext, words: readonly string[], env: object = {}): Running {
  const [command = '', ...parameters] = words
  const child = spawn(command, parameters, {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: { ...process.env, ...env },
  })
  t.teardown(() => child.kill('SIGKILL'))
  const lines: string[] = []
  let stir = (): void => {}
  createInterface(child.stdout).on('line', (line) => {
    lines.push(line)
    stir()
  })
  const until = async (text: string, times = 1): Promise<void> => {
    while (lines.filter((line) => line.includes(text)).length < times) {
      await new Promise<void>((resolve) => (stir = resolve))
    }
  }
  return { child, lines, until }
}

/** The process that answers, by what it says. */
async function answeredBy(socket: Socket): Promise<number> {
  socket.write('hello\n')
  const [answer] = (await once(socket, 'data')) as [Buffer]
  socket.end()
  const [, pid] = /^(\d+) hello\n$/.exec(String(answer))!
  return Number(pid)
}

const node = [process.execPath, '--import', typescript]

withSystemd('the units start the server of the page on the socket of systemd', async (t) => {
  const directory = folder(t)
  const service = block('ini', 'ExecStart=')
  const socket = block('ini', 'ListenStream=')
  t.is(setting(socket, 'Service'), 'echo@1.service')
  t.is(setting(service, 'Sockets'), 'echo.socket')
  const [program, ...parameters] = setting(service, 'ExecStart').split(' ')
  t.is(program, '/usr/bin/node')
  t.deepEqual(parameters, ['/srv/echo/server.js'])

  const port = await ownPort()
  const name = setting(socket, 'FileDescriptorName')
  const words = activate([`127.0.0.1:${port}`], [`--fdname=${name}`])
  const { child, until } = run(t, [...words, ...node, join(directory, 'server.mts')])
  t.is(await answeredBy(await connectOnce(t, port)), child.pid!)
  await until(`serves port ${port}`)
  const exit = once(child, 'exit')
  child.kill('SIGTERM')
  t.deepEqual(await exit, [0, null])
})

test('the workers of the page are replaced one by one, and end with their primary', async (t) => {
  const directory = folder(t)
  const port = await ownPort()
  const words = [...node, join(directory, 'workers.mts')]
  const { child, lines, until } = run(t, words, { PORT: String(port) })
  const count = availableParallelism()
  await until(`serves port ${port}`, count)
  const first = lines.map((line) => parseInt(line, 10))
  t.true(first.includes(await answeredBy(await connectOnce(t, port))))

  child.kill('SIGHUP')
  await until(`serves port ${port}`, 2 * count)
  const second = lines.slice(count).map((line) => parseInt(line, 10))
  // Until the last of the old ones has ended.
  let answers: number
  do answers = await answeredBy(await connectOnce(t, port))
  while (!second.includes(answers))

  const exit = once(child, 'exit')
  child.kill('SIGTERM')
  t.deepEqual(await exit, [0, null])
})

test('HAProxy with the configuration of the page reaches both processes', async (t) => {
  const directory = folder(t)
  const [front, one, two] = [await ownPort(), await ownPort(), await ownPort()]
  const behind = (port: number): Running =>
    run(t, [...node, join(directory, 'behind.mts')], { PORT: String(port) })
  const servers = [behind(one), behind(two)]
  await servers[0]!.until('serves port')
  await servers[1]!.until('serves port')
  const file = join(directory, 'haproxy.cfg')
  const config = block('text', 'listen echo')
  writeFileSync(
    file,
    config
      .replace('bind :7000', `bind 127.0.0.1:${front}`)
      .replace(':7001', `:${one}`)
      .replace(':7002', `:${two}`),
  )
  run(t, ['haproxy', '-db', '-f', file])
  const answers = new Set<number>()
  while (answers.size < 2) answers.add(await answeredBy(await connectOnce(t, front)))
  t.deepEqual(
    [...answers].toSorted((a, b) => a - b),
    servers.map(({ child }) => child.pid!).toSorted((a, b) => a - b),
  )
})
