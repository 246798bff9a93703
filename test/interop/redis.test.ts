/** redis-cli, in front of a server of RESP: arrays of strings, each with its length. */

import test from 'ava'
import { Cio } from '../../src/index.ts'
import { FrameDecoder, type Framing, messages, syntaxError } from '../../src/kit.ts'
import { identity, path } from '../support/certificates.ts'
import { serve } from '../support/serve.ts'
import { recordEvents } from '../support/tls.ts'
import { execute } from './programs.ts'

const nothing = { reject: [], remoteError: [], error: [] }

/** The number after a sign, and where its line ends; undefined if that is not there yet. */
function header(
  bytes: Buffer,
  at: number,
  sign: string,
): { count: number; end: number } | undefined {
  const line = bytes.indexOf('\r\n', at)
  if (line === -1) return undefined
  const text = bytes.toString('latin1', at, line)
  if (!new RegExp(`^\\${sign}\\d{1,7}$`).test(text))
    throw syntaxError('resp', 'is not RESP', at, text)
  return { count: Number(text.slice(1)), end: line + 2 }
}

/** Commands: `*2`, then twice `$` and a length, and so many bytes. */
const resp: Framing<Buffer[]> = {
  end(bytes, start) {
    // An empty line is an empty command: `--pipe` sends one.
    if (bytes.toString('latin1', start, start + 2) === '\r\n') return start + 2
    const array = header(bytes, start, '*')
    if (!array) return bytes.length + 1
    let at = array.end
    for (let left = array.count; left > 0; left--) {
      const string = header(bytes, at, '$')
      if (!string) return bytes.length + 1
      at = string.end + string.count + 2
      if (at > bytes.length) return at
    }
    return at
  },
  open(bytes, ends, into) {
    let at = 0
    for (const end of ends) {
      const words: Buffer[] = []
      if (end - at > 2) at = header(bytes, at, '*')!.end
      else at = end
      while (at < end) {
        const string = header(bytes, at, '$')!
        words.push(Buffer.from(bytes.subarray(string.end, string.end + string.count)))
        at = string.end + string.count + 2
      }
      if (words.length > 0) into.push(words)
    }
  },
}

const bulk = (value: Buffer): Buffer =>
  Buffer.concat([Buffer.from(`$${value.length}\r\n`), value, Buffer.from('\r\n')])

/** A store of strings. */
function server() {
  const store = new Map<string, Buffer>()
  const answer = ([command, key, value]: Buffer[]): Buffer | string => {
    const name = String(command).toUpperCase()
    if (name === 'PING') return '+PONG\r\n'
    if (name === 'ECHO') return bulk(key!)
    if (name === 'SET') return store.set(String(key), value!) && '+OK\r\n'
    if (name === 'DBSIZE') return `:${store.size}\r\n`
    const found = store.get(String(key))
    if (name === 'GET') return found ? bulk(found) : '$-1\r\n'
    return `-ERR unknown command '${name}'\r\n`
  }
  const codec = messages<Buffer[], Buffer | string>({
    name: 'resp',
    encoder: () => (text) => text,
    decoder: () => new FrameDecoder('resp', resp),
  })
  const app = new Cio().useConnection(codec).useConnection(async (ctx) => {
    for await (const words of ctx.messages) await ctx.messages.send(answer(words))
  })
  return { app, store, told: recordEvents(app) }
}

test('redis-cli sets, gets and hears an error', async (t) => {
  const { app, told } = server()
  const { port } = await serve(t, app)
  const ask = async (...words: string[]): Promise<string> =>
    (await execute(t, 'redis-cli', ['-h', '127.0.0.1', '-p', String(port), ...words])).stdout
  t.is(await ask('PING'), 'PONG\n')
  t.is(await ask('SET', 'key', 'a value\r\nof two lines'), 'OK\n')
  t.is(await ask('GET', 'key'), 'a value\r\nof two lines\n')
  t.is(await ask('GET', 'missing'), '\n')
  t.regex(await ask('FLUSHALL'), /^ERR unknown command 'FLUSHALL'/)
  t.deepEqual(told, nothing)
})

test('redis-cli --pipe sends 20,000 commands without waiting, and each is answered', async (t) => {
  const { app, store, told } = server()
  const { port } = await serve(t, app)
  const count = 20_000
  const command = (n: number): string =>
    ['SET', `key:${n}`, 'x'.repeat(n % 100)]
      .map((word) => `$${word.length}\r\n${word}\r\n`)
      .join('')
  const input = Array.from({ length: count }, (_, n) => `*3\r\n${command(n)}`).join('')
  const words = ['-h', '127.0.0.1', '-p', String(port), '--pipe']
  const { stdout, stderr } = await execute(t, 'redis-cli', words, { input })
  t.regex(stdout, new RegExp(`errors: 0, replies: ${count}`), stderr)
  t.is(store.size, count)
  t.deepEqual(told, nothing)
})

test('redis-cli over TLS, with a client certificate', async (t) => {
  const { app, told } = server()
  const mutual = { ...identity('server'), ca: path('root.crt'), requestCert: true }
  const { port } = await serve(t, app, mutual)
  const tls = ['--tls', '--cacert', path('root.crt'), '--sni', 'localhost']
  const alice = ['--cert', path('alice.crt'), '--key', path('alice.key')]
  const at = ['-h', '127.0.0.1', '-p', String(port)]
  const { stdout, stderr } = await execute(t, 'redis-cli', [...at, ...tls, ...alice, 'PING'])
  t.is(stdout, 'PONG\n', stderr)
  t.deepEqual(told, nothing)
})
