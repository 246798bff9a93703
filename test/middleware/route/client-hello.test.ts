import test, { type ExecutionContext } from 'ava'
import fc from 'fast-check'
import { once } from 'node:events'
import { type Socket, connect as connectNet, createServer } from 'node:net'
import { type ConnectionOptions, connect } from 'node:tls'
import { growth } from '../../support/cost.ts'
import { askedFor, ofBrowser, ofOpenssl } from '../../support/client-hello.ts'
import { type ClientHello, ClientHelloReader } from '../../../middleware/route/client-hello.ts'
import { many } from '../../support/long.ts'

const readClientHello = (bytes: Buffer): ClientHello | null | undefined =>
  new ClientHelloReader().read(bytes)

/** What is read of bytes that come in these pieces. */
function readPieces(pieces: readonly Buffer[]): ClientHello | null | undefined {
  const reader = new ClientHelloReader()
  let all = Buffer.alloc(0)
  let hello: ClientHello | null | undefined
  for (const piece of pieces) {
    all = Buffer.concat([all, piece])
    hello = reader.read(all)
  }
  return hello
}

/** The first bytes of a client of Node's. */
async function hello(t: ExecutionContext, options: ConnectionOptions): Promise<Buffer> {
  const server = createServer()
  server.listen(0, '127.0.0.1')
  t.teardown(() => server.close())
  await once(server, 'listening')
  const { port } = server.address() as { port: number }
  const accepted = once(server, 'connection')
  const client = connect({ socket: connectNet(port, '127.0.0.1'), ...options })
  client.on('error', () => {})
  const [socket] = (await accepted) as [Socket]
  const [bytes] = (await once(socket, 'data')) as [Buffer]
  client.destroy()
  socket.destroy()
  return bytes
}

/** The same message in records of so many bytes each. */
function inRecords(bytes: Buffer, size: number): Buffer {
  const message = bytes.subarray(5)
  const records: Buffer[] = []
  for (let at = 0; at < message.length; at += size) {
    const fragment = message.subarray(at, at + size)
    records.push(Buffer.from([0x16, 3, 1, fragment.length >> 8, fragment.length & 0xff]), fragment)
  }
  return Buffer.concat(records)
}

const options = { servername: 'A.Example.com', ALPNProtocols: ['h2', 'http/1.1'] }
const wanted = { servername: 'a.example.com', alpn: ['h2', 'http/1.1'] }
const versions = ['TLSv1.2', 'TLSv1.3'] as const

for (const version of versions) {
  const asked = { ...options, minVersion: version, maxVersion: version }

  test(`the name and the protocols are read, cut at every byte (${version})`, async (t) => {
    const bytes = await hello(t, asked)
    for (let cut = 0; cut < bytes.length; cut++) {
      t.is(readClientHello(bytes.subarray(0, cut)), undefined, `${cut} bytes`)
    }
    t.deepEqual(readClientHello(bytes), wanted)
    t.deepEqual(readClientHello(Buffer.concat([bytes, Buffer.from('more')])), wanted)
  })

  test(`they are read in records of every size (${version})`, async (t) => {
    const bytes = await hello(t, asked)
    for (let size = 1; size < bytes.length; size++) {
      const records = inRecords(bytes, size)
      t.deepEqual(readClientHello(records), wanted, `records of ${size}`)
      t.is(readClientHello(records.subarray(0, -1)), undefined)
    }
  })
}

for (const [client, bytes] of [
  ['OpenSSL', ofOpenssl],
  ['a browser', ofBrowser],
] as const) {
  test(`a post-quantum message of ${client} is read in two segments, cut at every byte`, (t) => {
    t.true(bytes.length > 1_460, 'more than one segment')
    for (let cut = 0; cut <= bytes.length; cut++) {
      const pieces = [bytes.subarray(0, cut), bytes.subarray(cut)]
      t.deepEqual(readPieces(pieces), askedFor, `cut at ${cut}`)
    }
    for (const size of [1, 7, 500]) {
      const records = inRecords(bytes, size)
      for (let cut = 0; cut <= records.length; cut += 37) {
        const pieces = [records.subarray(0, cut), records.subarray(cut)]
        t.deepEqual(readPieces(pieces), askedFor, `records of ${size}, cut at ${cut}`)
      }
    }
    const single = Array.from(bytes, (byte) => Buffer.of(byte))
    t.deepEqual(readPieces(single), askedFor)
  })
}

test('a message of no length, and one without a fragment, is none, as soon as that is seen', (t) => {
  const empty = Buffer.from([0x16, 3, 1, 0, 4, 1, 0, 0, 0])
  t.is(readClientHello(empty), null)
  t.is(readClientHello(inRecords(empty, 1)), null)
  const fragment = Buffer.from([0x16, 3, 1, 0, 1, 1])
  const without = Buffer.from([0x16, 3, 1, 0, 0])
  t.is(readClientHello(Buffer.concat([fragment, without])), null)
})

test.serial('fragments of a byte cost what their bytes do, however they are cut', async (t) => {
  const message = Buffer.concat([Buffer.of(1, 0xff, 0xff, 0xff), Buffer.alloc(20_000)])
  const records = inRecords(Buffer.concat([Buffer.alloc(5), message]), 1)
  const byOne = (size: number): void => {
    const reader = new ClientHelloReader()
    for (let end = 1; end <= size; end++) reader.read(records.subarray(0, end))
  }
  t.true((await growth(byOne, 12_000, 8)) < 24)
})

test('a long message with many protocols is read', async (t) => {
  const protocols = Array.from({ length: 300 }, (_, index) => `protocol-${index}`)
  const bytes = await hello(t, { ...options, ALPNProtocols: protocols })
  t.true(bytes.length > 3_000)
  t.deepEqual(readClientHello(bytes), { servername: 'a.example.com', alpn: protocols })
})

test('a client that asks for nothing is read', async (t) => {
  t.deepEqual(readClientHello(await hello(t, {})), { servername: null, alpn: [] })
})

test('a name that is no host name is none', async (t) => {
  const bytes = await hello(t, { servername: 'a.example.com' })
  const at = bytes.indexOf('a.example.com')
  for (const name of ['a%2eexample.c', 'a.exam\0le.com', '*.example.com', 'a.example.c m']) {
    const forged = Buffer.from(bytes)
    forged.write(name, at, 'latin1')
    t.deepEqual(readClientHello(forged), { servername: null, alpn: [] }, name)
  }
})

test('what is no first message of TLS is told at once', (t) => {
  const others = [
    'GET / HTTP/1.1',
    '\x15\x03\x01\0\x02\x01\0',
    '\x16\x02',
    '\x16\x03\x01\0\0',
    '\x16\x03\x01\xff\xff',
  ]
  for (const one of others) t.is(readClientHello(Buffer.from(one, 'latin1')), null, one)
  // A message of the server's.
  t.is(readClientHello(Buffer.from('\x16\x03\x01\0\x01\x02', 'latin1')), null)
})

test('an extension that comes twice makes it none', async (t) => {
  const bytes = await hello(t, { servername: 'a.example.com' })
  const twice = Buffer.from(bytes)
  // The first extension becomes another one of the second's kind.
  const name = bytes.indexOf('a.example.com') - 9
  const other = bytes.indexOf(Buffer.from([0, 0x2b])) // supported_versions
  t.true(name > 0 && other > 0)
  twice.writeUInt16BE(0, other)
  t.is(readClientHello(twice), null)
})

const inputs = many(100_000, 2_000)

test(`${inputs} inputs that are nearly right break nothing`, async (t) => {
  const bytes = await hello(t, options)
  const change = fc.record({ at: fc.nat(bytes.length - 1), to: fc.nat(255) })
  fc.assert(
    fc.property(
      fc.array(change, { minLength: 1, maxLength: 4 }),
      fc.nat(bytes.length),
      (changes, length) => {
        const input = Buffer.from(bytes)
        for (const { at, to } of changes) input[at] = to
        for (const one of [input, input.subarray(0, length)]) {
          const read = readClientHello(one)
          if (read?.servername) t.regex(read.servername, /^[a-z\d._-]+$/)
        }
      },
    ),
    { numRuns: inputs, seed: 7 },
  )
  t.pass()
})
