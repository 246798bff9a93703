import test, { type ExecutionContext } from 'ava'
import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { openSync, readFileSync } from 'node:fs'
import { connect, createServer } from 'node:net'
import { Cio, inherited } from '../../src/index.ts'
import { nextDescriptor, readDescriptors } from '../../middleware/inherited/descriptors.ts'
import { ownPort } from '../support/ports.ts'
import { Program } from '../support/program.ts'
import { serve } from '../support/serve.ts'
import {
  activate,
  connectOnce,
  descriptorOf,
  hasSocketActivate,
} from '../support/socket-activation.ts'
import { socketPath } from '../support/transports.ts'

const fixture = 'inherited-server.ts'

/** Tests of systemd's own program are skipped, aloud, where it is not installed. */
const withSystemd = hasSocketActivate ? test : test.skip
if (!hasSocketActivate) console.warn('inherited: skipped tests need `systemd-socket-activate`')

async function echoes(t: ExecutionContext, to: number | string, text: string): Promise<void> {
  const socket = await connectOnce(t, to)
  socket.write(text)
  t.is(String((await once(socket, 'data'))[0]), text)
  socket.end()
}

/** Words before a command that set the variables as systemd does. */
function passing(variables: string): readonly string[] {
  return ['sh', '-c', `export ${variables}; exec "$@"`, 'sh']
}

/** A program to which these descriptors are passed, and its first line. */
async function firstLine(
  t: ExecutionContext,
  variables: string,
  descriptors: readonly number[],
): Promise<unknown> {
  const program = new Program(t, fixture, { servers: [{}] }, passing(variables), descriptors)
  await program.until('all')
  program.kill('SIGKILL')
  return program.lines[0]
}

async function listening(t: ExecutionContext): Promise<{ fd: number; port: number }> {
  const server = createServer()
  t.teardown(() => server.close())
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  return {
    fd: descriptorOf(server),
    port: typeof address === 'object' && address ? address.port : 0,
  }
}

// By systemd

withSystemd('a server serves the socket of systemd-socket-activate, and drains', async (t) => {
  const port = await ownPort()
  const program = new Program(t, fixture, { servers: [{}] }, activate([`127.0.0.1:${port}`]))
  await echoes(t, port, 'hello')
  // Its children do not see the variables.
  t.like(await program.until('listening'), { port, fd: 3, variables: 0, pid: program.child.pid })
  program.kill('SIGTERM')
  t.like(await program.ended, { code: 0 })
})

withSystemd('a Unix socket is served, and its file stays for the next process', async (t) => {
  const path = socketPath(t)
  const program = new Program(t, fixture, { servers: [{}] }, activate([path]))
  await echoes(t, path, 'hello')
  t.like(await program.until('listening'), { fd: 3 })
  program.kill('SIGTERM')
  t.like(await program.ended, { code: 0 })
  // The file is there, and with the last descriptor of the socket its listener is gone.
  t.is(await refusal(path), 'ECONNREFUSED')
})

async function refusal(path: string): Promise<string | undefined> {
  const [error] = (await once(connect(path), 'error')) as [NodeJS.ErrnoException]
  return error.code
}

withSystemd('sockets are taken by name, those of one name in their order', async (t) => {
  const ports = [await ownPort(), await ownPort(), await ownPort()] as const
  const servers = [{ name: 'open' }, { name: 'admin' }, { name: 'open' }, { name: 'open' }]
  const words = activate(
    ports.map((port) => `127.0.0.1:${port}`),
    ['--fdname=open:admin:open'],
  )
  const program = new Program(t, fixture, { servers }, words)
  await echoes(t, ports[0], 'hello')
  const refused = await program.until('refused')
  t.deepEqual(
    program.lines.filter(({ event }) => event === 'listening').map(({ port, fd }) => [port, fd]),
    [
      [ports[0], 3],
      [ports[1], 4],
      [ports[2], 5],
    ],
  )
  t.is(refused.code, 'ERR_CIO_INHERITED')
  t.regex(refused.message as string, /`open` has been used by a server of this process: 3, 5;/)
})

withSystemd('a socket of several names is taken by none of them without a name', async (t) => {
  const ports = [await ownPort(), await ownPort()] as const
  const words = activate(
    ports.map((port) => `127.0.0.1:${port}`),
    ['--fdname=open:admin'],
  )
  const program = new Program(t, fixture, { servers: [{}, { name: 'web' }] }, words)
  await connectOnce(t, ports[0])
  await program.until('refused', 2)
  const messages = program.lines.map(({ message }) => message as string)
  t.regex(messages[0]!, /several names were passed: `open`, `admin`; choose one with `name`/)
  t.regex(messages[1]!, /no descriptor of the name `web` was passed, but: `open`, `admin`/)
})

withSystemd('a socket for an instance of each connection is refused', async (t) => {
  const port = await ownPort()
  const words = activate([`127.0.0.1:${port}`], ['--accept'])
  const program = new Program(t, fixture, { servers: [{}] }, words)
  await connectOnce(t, port)
  const { code, message } = await program.until('refused')
  t.is(code, 'ERR_CIO_INHERITED')
  t.regex(message as string, /not a listening stream socket .* Accept=no/)
})

withSystemd('a socket of datagrams, and one of packets, are refused', async (t) => {
  const path = socketPath(t)
  for (const kind of ['--datagram', '--seqpacket']) {
    const words = activate([`${path}${kind}`], [kind])
    const program = new Program(t, fixture, { servers: [{}] }, words)
    // A client that goes on until the program has started.
    const socat = kind === '--datagram' ? 'UNIX-SENDTO' : 'UNIX-CONNECT'
    const type = kind === '--datagram' ? '' : ',type=5'
    const client = spawn('sh', [
      '-c',
      `until echo hello | socat - '${socat}:${path}${kind}${type}'; do sleep 0.1; done`,
    ])
    t.teardown(() => client.kill())
    const { code, message } = await program.until('refused')
    t.is(code, 'ERR_CIO_INHERITED')
    t.regex(message as string, /descriptor 3 .* is not a listening stream socket/)
  }
})

// By another parent

test('a parent that sets the variables passes its socket', async (t) => {
  const { fd, port } = await listening(t)
  t.like(await firstLine(t, 'LISTEN_PID=$$ LISTEN_FDS=1', [fd]), {
    event: 'listening',
    port,
    fd: 3,
  })
})

test('workers of a cluster serve the socket that was passed to their primary', async (t) => {
  const { fd, port } = await listening(t)
  const words = passing('LISTEN_PID=$$ LISTEN_FDS=1')
  const program = new Program(t, 'cluster-restart.ts', { workers: 2 }, words, [fd])
  t.like(await program.until('listening'), { port })
  t.like(await program.until('serving', 2), { fd: 3 })
  program.child.stdin!.write('restart\n')
  await program.until('restart done')
  t.like(await program.until('serving', 4), { fd: 3 })
  program.child.stdin!.write('stop\n')
  t.like(await program.ended, { code: 0 })
})

test('a process that the socket was not meant for is refused, with a hint', async (t) => {
  const { fd } = await listening(t)
  const line = await firstLine(t, 'LISTEN_PID=1 LISTEN_FDS=1', [fd])
  t.like(line, { event: 'refused', code: 'ERR_CIO_INHERITED' })
  t.regex((line as { message: string }).message, /LISTEN_PID is 1, and this .* `npm start`, `tsx`/)
})

test('a file, a socket that does not listen, and a closed descriptor are refused', async (t) => {
  const file = openSync('/dev/null', 'r')
  t.like(await firstLine(t, 'LISTEN_PID=$$ LISTEN_FDS=1', [file]), {
    code: 'ERR_CIO_INHERITED',
    message: 'inherited: descriptor 3 (`unknown`) is not a socket',
  })
  const { port } = await listening(t)
  const client = await connectOnce(t, port)
  const { fd } = (client as unknown as { _handle: { fd: number } })._handle
  const connected = await firstLine(t, 'LISTEN_PID=$$ LISTEN_FDS=1', [fd])
  t.regex((connected as { message: string }).message, /not a listening stream socket/)
  const closed = await firstLine(t, 'LISTEN_PID=$$ LISTEN_FDS=1; exec 3<&-', [file])
  t.regex((closed as { message: string }).message, /\(`unknown`\) is not open|is not a socket/)
})

test('the backlog is long enough for a restart', async (t) => {
  const { fd, port } = await listening(t)
  const program = new Program(
    t,
    fixture,
    { servers: [{}] },
    passing('LISTEN_PID=$$ LISTEN_FDS=1'),
    [fd],
  )
  await program.until('listening')
  const row = execFileSync('ss', ['-ltnH', `sport = :${port}`], { encoding: 'utf8' })
  const most = Number(readFileSync('/proc/sys/net/core/somaxconn', 'utf8'))
  t.is(Number(row.trim().split(/\s+/)[2]), Math.min(4_096, most))
})

test('a program to which nothing was passed listens on its own', async (t) => {
  const app = new Cio().useServer(inherited()).useConnection(({ stream }) => void stream.end('hi'))
  const server = await serve(t, app)
  t.is(server.options.fd, undefined)
  t.true(server.port > 0)
})

// The variables

const ours = { LISTEN_PID: '7', LISTEN_FDS: '2' }

test('descriptors have the names of LISTEN_FDNAMES, in their order', (t) => {
  t.deepEqual(readDescriptors({}, 7), [])
  t.deepEqual(readDescriptors({ ...ours, LISTEN_FDS: '0' }, 7), [])
  t.deepEqual(readDescriptors(ours, 7), [
    { fd: 3, name: 'unknown' },
    { fd: 4, name: 'unknown' },
  ])
  t.deepEqual(readDescriptors({ ...ours, LISTEN_FDNAMES: 'a:b' }, 7), [
    { fd: 3, name: 'a' },
    { fd: 4, name: 'b' },
  ])
})

for (const [what, env] of [
  ['without LISTEN_PID', { LISTEN_FDS: '1' }],
  ['for another process', { ...ours, LISTEN_PID: '8' }],
  ['with a count that is none', { ...ours, LISTEN_FDS: '1e9' }],
  ['with a negative count', { ...ours, LISTEN_FDS: '-1' }],
  ['with an empty count', { ...ours, LISTEN_FDS: '' }],
  ['with too few names', { ...ours, LISTEN_FDNAMES: 'a' }],
] as const) {
  test(`variables ${what} are refused`, (t) => {
    t.throws(() => readDescriptors(env, 7), { code: 'ERR_CIO_INHERITED' })
  })
}

test('without a name, sockets of one name are taken', (t) => {
  const [first, second] = [
    { fd: 3, name: 'a' },
    { fd: 4, name: 'b' },
  ]
  t.is(nextDescriptor([first], undefined), first)
  t.is(nextDescriptor([first, second], 'b'), second)
  t.throws(() => nextDescriptor([first, second], undefined), { code: 'ERR_CIO_INHERITED' })
})

test('options out of their range are rejected when it is created', (t) => {
  for (const wrong of [{ name: '' }, { name: 3 }, { nmae: 'web' }]) {
    t.throws(() => inherited(wrong as object), { code: 'ERR_CIO_OPTION' })
  }
})
