import test from 'ava'
import fc from 'fast-check'
import { once } from 'node:events'
import { Cio, type CioError, type FramesOptions, frames } from '../../src/index.ts'
import { FrameDecoder, framesOf } from '../../src/kit.ts'
import { codecContract } from '../contracts/codec.ts'
import { inLongForm } from '../support/long.ts'
import { receive } from '../support/receive.ts'
import { dial, readAll, serve } from '../support/serve.ts'

/**
 * The messages of the contract are bytes: make them comparable, because a frame is a view of its
 * chunk.
 */
const bytes = (maxLength: number) => fc.uint8Array({ maxLength }).map((array) => Buffer.from(array))

/** The length prefix, written in the simplest way. */
function prefix(length: number, size: 1 | 2 | 4 | 'varint', little = false): Buffer {
  if (size === 'varint') {
    const out: number[] = []
    let rest = length
    for (; rest > 127; rest = Math.floor(rest / 128)) out.push((rest % 128) + 128)
    return Buffer.from([...out, rest])
  }
  const out = Buffer.alloc(size)
  for (let at = 0; at < size; at++) {
    out[little ? at : size - 1 - at] = Math.floor(length / 256 ** at) % 256
  }
  return out
}

for (const length of [2, 4, 'varint'] as const) {
  for (const endian of length === 'varint' ? (['big'] as const) : (['big', 'little'] as const)) {
    codecContract<Buffer, string | Uint8Array>(prefixed(`length ${length} ${endian}`), {
      codec: (options) => frames({ length, endian, ...options }),
      arbitrary: bytes(150),
      ofLength: (count) => Buffer.alloc(count, 'x'),
      encode: (frame) =>
        Buffer.concat([
          // For lengths above two bytes, the contract only needs a prefix that is too large.
          prefix(
            length === 2 ? Math.min(frame.length, 65_535) : frame.length,
            length,
            endian === 'little',
          ),
          frame,
        ]),
      isShort: length === 2,
      truncated: 'ERR_CIO_TRUNCATED',
    })
  }
}

for (const delimiter of ['\0', '\r\n', 'aab'] as const) {
  codecContract<Buffer, string | Uint8Array>(prefixed(`delimiter ${JSON.stringify(delimiter)}`), {
    codec: (options) => frames({ delimiter, ...options }),
    arbitrary: fc
      .string({ unit: fc.constantFrom('a', 'b', '\r', 'é', 'x'), maxLength: 30 })
      .filter((text) => `${text}${delimiter}`.indexOf(delimiter) === text.length)
      .map((text) => Buffer.from(text)),
    ofLength: (count) => Buffer.alloc(count, 'x'),
    encode: (frame) => Buffer.concat([frame, Buffer.from(delimiter)]),
    truncated: 'ERR_CIO_TRUNCATED',
  })
}

/** One `test` for each of several contracts in a file, because titles must differ. */
function prefixed(title: string): typeof test {
  const titled =
    (register: unknown) =>
    (claim: string, ...rest: unknown[]): unknown =>
      (register as (...given: unknown[]) => unknown)(`${title}: ${claim}`, ...rest)
  return Object.assign(titled(test), { serial: titled(test.serial) }) as unknown as typeof test
}

interface Outcome {
  readonly frames: string[]
  readonly code: string | undefined
}

/** Decodes chunks without a network. */
function decode(options: FramesOptions, chunks: readonly (string | Buffer)[]): Outcome {
  const { maxLength = 1_000 } = options
  const { framing } = framesOf('test', maxLength, options)
  const decoder = new FrameDecoder(
    'test',
    framing((frame) => frame.toString('latin1')),
  )
  const found: string[] = []
  try {
    for (const chunk of chunks) decoder.decode(Buffer.from(chunk as string, 'latin1'), found)
    decoder.end()
  } catch (error) {
    return { frames: found, code: (error as CioError).code }
  }
  return { frames: found, code: undefined }
}

test('a length above maxLength is rejected when its bytes are read', (t) => {
  const code = 'ERR_CIO_MESSAGE_TOO_LONG'
  t.deepEqual(decode({}, ['\x00\x00\x03\xe9']), { frames: [], code })
  t.deepEqual(decode({}, ['\x80\x00\x00\x00']), { frames: [], code })
  t.deepEqual(decode({ endian: 'little' }, ['\xff\xff\xff\xff']), { frames: [], code })
  t.deepEqual(decode({ length: 2 }, ['\x00\x01a\xff', '\xff']), { frames: ['a'], code })
  t.deepEqual(decode({ length: 'varint' }, ['\x80\x80\x80\x80\x08']), { frames: [], code })
  // Before its last byte has arrived.
  t.deepEqual(decode({ length: 'varint' }, ['\xff', '\xff']), { frames: [], code })
})

for (const [what, input, begins] of [
  ['HTTP', 'GET / HTTP/1.1\r\nHost: example.com\r\n\r\n', 'GET / HTTP'],
  ['TLS', Buffer.from('16030100a5010000a10303', 'hex'), String.raw`\u0016\u0003\u0001`],
] as const) {
  for (const length of [1, 2, 'varint'] as const) {
    test(`where ${what} is a length that fits (${length}), the error of its end shows how it begins (netty/netty#14559)`, async (t) => {
      const { messages, error } = await receive(t, frames({ length }), input)
      t.deepEqual(messages, [])
      t.is(error?.code, 'ERR_CIO_TRUNCATED')
      t.true(error!.message.includes(`it begins with "${begins}`), error!.message)
      t.regex(error!.message, /from 127\.0\.0\.1:\d+/)
    })
  }
}

test('the error for HTTP on a port of frames names the announced length, the first bytes and the address (netty/netty#14559)', async (t) => {
  const { error } = await receive(t, frames(), 'GET / HTTP/1.1\r\nHost: example.com\r\n\r\n')
  t.is(error?.code, 'ERR_CIO_MESSAGE_TOO_LONG')
  t.is(error?.fault, 'remote')
  t.regex(error!.message, /announces 1195725856 bytes/)
  t.regex(error!.message, /"GET \/ HTTP/)
  t.regex(error!.message, /from (127\.0\.0\.1|::1|\[::1\])/)
})

test('the first bytes of a message that is too long are quoted, shortened and escaped', async (t) => {
  const bytes = Buffer.concat([Buffer.from([0xff, 0x1b, 0x0a]), Buffer.alloc(2_000, 0x61)])
  const { error } = await receive(t, frames({ length: 'varint', maxLength: 100 }), bytes)
  t.is(error?.code, 'ERR_CIO_MESSAGE_TOO_LONG')
  for (const raw of ['\u001b', '\n']) t.false(error!.message.includes(raw))
  t.true(error!.message.length < 250)
})

test('a varint of more than five bytes is rejected, a padded one of five is accepted', (t) => {
  const options = { length: 'varint' } as const
  t.deepEqual(decode(options, ['\x81\x80\x80\x80\x00a']), { frames: ['a'], code: undefined })
  t.deepEqual(decode(options, ['\x01a\x81\x80\x80\x80\x80', '\x00a']), {
    frames: ['a'],
    code: 'ERR_CIO_SYNTAX',
  })
})

test('frames without content are messages', (t) => {
  t.deepEqual(decode({ length: 1 }, ['\0\0\x01a\0']).frames, ['', '', 'a', ''])
  t.deepEqual(decode({ length: 'varint' }, ['\0', '\0']).frames, ['', ''])
  t.deepEqual(decode({ delimiter: '--' }, ['--', '-', '-a', '--', '--']).frames, ['', '', 'a', ''])
})

test('an empty message is sent as a frame without content', async (t) => {
  const app = new Cio().useConnection(frames({ length: 1 })).useConnection(async (ctx) => {
    await ctx.messages.sendMany(['', Buffer.alloc(0), 'é'])
  })
  const server = await serve(t, app)
  t.is(await readAll(await dial(t, server)), '\0\0\x02é')
})

test('a delimiter is found wherever it is split, and a partial delimiter is content', (t) => {
  const input = 'aaabxaab\naabaab'
  for (let first = 0; first <= input.length; first++) {
    for (let second = first; second <= input.length; second++) {
      const chunks = [input.slice(0, first), input.slice(first, second), input.slice(second)]
      const { frames: found } = decode({ delimiter: 'aab' }, chunks)
      t.deepEqual(found, ['a', 'x', '\n', ''], JSON.stringify(chunks))
    }
  }
})

test('content of exactly maxLength is accepted even before its delimiter has arrived', (t) => {
  const options = { delimiter: '\r\n', maxLength: 3 }
  t.deepEqual(decode(options, ['abc', '\r', '\n']), { frames: ['abc'], code: undefined })
  t.deepEqual(decode(options, ['abc\r', 'x']).code, 'ERR_CIO_MESSAGE_TOO_LONG')
  t.deepEqual(decode(options, ['abcd\r\n']).code, 'ERR_CIO_MESSAGE_TOO_LONG')
})

test('frames of a fixed size need no separator', (t) => {
  t.deepEqual(decode({ size: 3 }, ['ab', 'cde', 'f']), { frames: ['abc', 'def'], code: undefined })
  t.deepEqual(decode({ size: 3 }, ['abcd']), { frames: ['abc'], code: 'ERR_CIO_TRUNCATED' })
})

inLongForm(() => {
  test('a million pieces of one byte are assembled in limited time', (t) => {
    for (const options of [{}, { delimiter: 'xxy' }] as const) {
      const { framing } = framesOf('test', 2_000_000, options)
      const decoder = new FrameDecoder(
        'test',
        framing((frame) => frame),
      )
      const found: Buffer[] = []
      const start = process.cpuUsage()
      if (!('delimiter' in options)) decoder.decode(prefix(1_000_000, 4), found)
      const piece = Buffer.from('x')
      for (let count = 0; count < 1_000_000; count++) decoder.decode(piece, found)
      if ('delimiter' in options) decoder.decode(Buffer.from('xxy'), found)
      t.is(found[0]?.length, 1_000_000)
      t.true(process.cpuUsage(start).user < 5_000_000)
    }
  })
})

test('a frame that arrives in one chunk is a view of it, and is not overwritten', (t) => {
  const { framing } = framesOf('test', 100, { length: 1 })
  const decoder = new FrameDecoder(
    'test',
    framing((frame) => frame),
  )
  const found: Buffer[] = []
  const chunk = Buffer.from('\x02ab\x02c')
  decoder.decode(chunk, found)
  t.is(found[0]!.buffer, chunk.buffer)
  decoder.decode(Buffer.from('d\x02e'), found)
  decoder.decode(Buffer.from('f\x02'), found)
  decoder.decode(Buffer.from('gh'), found)
  t.deepEqual(found.map(String), ['ab', 'cd', 'ef', 'gh'])
})

test('a message that does not fit into a frame is rejected, and the connection stays open', async (t) => {
  const cases: [FramesOptions, unknown, string][] = [
    [{ length: 1 }, Buffer.alloc(256), '\x01!'],
    [{ length: 2, maxLength: Infinity }, Buffer.alloc(65_536), '\0\x01!'],
    [{ delimiter: '\n' }, 'a\nb', '!\n'],
    [{ delimiter: 'aa' }, 'xa', '!aa'],
    [{ size: 1 }, 'ab', '!'],
    [{}, 5, '\0\0\0\x01!'],
  ]
  for (const [options, bad, written] of cases) {
    const app = new Cio().useConnection(frames(options)).useConnection(async ({ messages }) => {
      await t.throwsAsync(messages.send(bad as string), { code: 'ERR_CIO_ENCODE' })
      await messages.send('!')
    })
    const server = await serve(t, app)
    t.is(await readAll(await dial(t, server)), written)
  }
})

test('input that ends within a frame is reported as the peer’s fault', async (t) => {
  const app = new Cio().useConnection(frames()).useConnection(async ({ messages }) => {
    for await (const _ of messages);
  })
  const told = once(app, 'remoteError')
  const server = await serve(t, app)
  ;(await dial(t, server)).end('\0\0\0\x05abc')
  const [error] = await told
  t.is(error.code, 'ERR_CIO_TRUNCATED')
  t.is(error.fault, 'remote')
  t.regex(error.message, /7 bytes into/)
})

test('options out of their range, or that exclude each other, are rejected when it is created', (t) => {
  const wrong: unknown[] = [
    { length: 9 },
    { endian: 'middle' },
    { delimiter: '' },
    { delimiter: 10 },
    { size: 0 },
    { size: 1.5 },
    { size: 11, maxLength: 10 },
    { size: Infinity, maxLength: Infinity },
    { size: 1, delimiter: '\n' },
    { length: 2, size: 1 },
    { endian: 'big', delimiter: '\n' },
    { maxLength: 0 },
  ]
  for (const options of wrong) {
    t.throws(
      () => frames(options as FramesOptions),
      { code: 'ERR_CIO_OPTION' },
      JSON.stringify(options),
    )
  }
})
