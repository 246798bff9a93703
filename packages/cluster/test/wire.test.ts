import test from 'ava'
import fc from 'fast-check'
import frozen from './fixtures/frames.json' with { type: 'json' }
import { type Frame, type Header, decodeFrame, encodeFrame, version } from '../src/wire/frames.ts'
import { decodeValue, encodeValue } from '../src/wire/values.ts'
import { claimOf, encodeClaim, entryOf } from '../src/registry/entry.ts'
import { Instance } from './support/fleet.ts'
import { memory, memoryHub } from '../src/index.ts'

const bytesOf = (text: string): Buffer => Buffer.from(text, 'base64')

for (const { name, header, body, frame } of frozen.frames) {
  test(`the frame \`${name}\` is what it was when it was frozen`, (t) => {
    t.is(encodeFrame(header as Header, bytesOf(body)).toString('base64'), frame)
    const decoded = decodeFrame(bytesOf(frame)) as Frame
    t.deepEqual(decoded.header as unknown, header)
    t.deepEqual(Buffer.from(decoded.body), bytesOf(body))
  })
}

const values: Record<string, unknown> = {
  bytes: Buffer.from([0, 255]),
  text: 'Ü',
  json: { a: [1, null, true, 'x'] },
  tagged: {
    at: new Date(1_700_000_000_000),
    big: 12n,
    bytes: Buffer.from('hi'),
    nan: Number.NaN,
    list: [undefined],
    own: { $: 'x' },
  },
  nothing: undefined,
}

for (const { name, bytes } of frozen.values) {
  test(`the value \`${name}\` is what it was when it was frozen`, (t) => {
    t.true(name in values)
    t.is(encodeValue(values[name]).toString('base64'), bytes)
    t.deepEqual(decodeValue(bytesOf(bytes)), values[name])
  })
}

for (const { name, text } of frozen.rows) {
  test(`the row \`${name}\` is what it was when it was frozen`, (t) => {
    const row = { key: 'sensor-7', value: Buffer.from(text), revision: 9 }
    const claim = claimOf(row)!
    t.is(claim.instance, 'i1')
    t.is(claim.connection, 'p.1')
    t.is(entryOf(row)?.revision, text.includes('claimed') ? 7 : 9)
    if (!text.includes('zone')) t.is(encodeClaim(claim).toString(), text)
  })
}

test('a frame of a newer release with unknown members is obeyed, an unknown kind is refused', async (t) => {
  const hub = memoryHub()
  const instance = await Instance.start(t, { cluster: { engine: memory(hub) } })
  const device = await instance.connect('sensor-7')
  const newer = memory(hub)
  await newer.open(new AbortController().signal)
  const { frame } = frozen.frames.find(({ name }) => name === 'send with an unknown member')!
  const ask = async (payload: Buffer, subject = 'devices.to.sensor-7'): Promise<string> => {
    const answer = await newer.request(subject, payload, { timeout: 60_000 })
    return decodeFrame(answer)!.header.kind
  }
  t.is(await ask(bytesOf(frame)), 'done')
  t.is((await device.client.messages.next()).value, 'hello')
  const atInstance = `devices.at.${instance.engine.instance}`
  for (const subject of ['devices.to.sensor-7', atInstance]) {
    t.is(await ask(encodeFrame({ kind: 'teleport' }), subject), 'unsupported')
    const future = bytesOf(frame)
    future[0] = version + 1
    t.is(await ask(future, subject), 'unsupported')
    t.is(await ask(Buffer.alloc(0), subject), 'unsupported')
  }
  await newer.close()
})

test('bytes that are no frame are no frame', (t) => {
  const frame = encodeFrame({ kind: 'send' }, Buffer.from('x'))
  for (let length = 0; length < frame.length - 1; length++) {
    t.is(decodeFrame(frame.subarray(0, length)), undefined)
  }
  for (const header of ['null', '7', '{}', '{"kind":7}', '{']) {
    const text = Buffer.from(header)
    t.is(decodeFrame(Buffer.concat([Buffer.of(1, 0, 0, 0, text.length), text])), undefined, header)
  }
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 40 }), (bytes) => {
      decodeFrame(bytes)
      return true
    }),
  )
})

test('bytes that are no value are a syntax error, and nothing else', (t) => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 40 }), (bytes) => {
      try {
        decodeValue(bytes)
      } catch (error) {
        return (error as { code?: string }).code === 'ERR_CIO_SYNTAX'
      }
      return true
    }),
  )
  t.throws(() => decodeValue(Buffer.alloc(0)), { code: 'ERR_CIO_SYNTAX' })
  t.throws(() => decodeValue(Buffer.from('\u0003{"$":"function"}')), { code: 'ERR_CIO_SYNTAX' })
})

test('a value that says how long it is allocates nothing by that', (t) => {
  const long = { length: 2 ** 31 }
  for (const v of [long, { type: 'Buffer', data: long }, [1], 5, null, true]) {
    for (const $ of ['bytes', 'bigint', 'number']) {
      const bytes = Buffer.from(`\u0003${JSON.stringify([{ $, v }])}`)
      t.throws(() => decodeValue(bytes), { code: 'ERR_CIO_SYNTAX' }, bytes.toString())
    }
  }
})

test('every value comes back as it was, or is refused', (t) => {
  const anything = fc.anything({
    withBigInt: true,
    withDate: true,
    withNullPrototype: false,
    withTypedArray: false,
  })
  fc.assert(
    fc.property(anything, (value) => {
      const again = decodeValue(encodeValue({ value })) as { value: unknown }
      t.deepEqual(again.value, withoutUndefined(value))
      return true
    }),
  )
  t.is(decodeValue(encodeValue('half of a pair: \ud800')), 'half of a pair: \ud800')
  t.is(
    Object.getPrototypeOf(decodeValue(encodeValue(JSON.parse('{"__proto__":{"a":1}}')))),
    Object.prototype,
  )
  const cycle: unknown[] = []
  cycle.push(cycle)
  for (const value of [cycle, () => {}, Symbol('x'), new Map(), { a: new URL('http://a') }]) {
    t.throws(() => encodeValue(value), { code: 'ERR_CIO_ENCODE' })
  }
})

/** Undefined members are left out, as JSON does, and a negative zero is a zero. */
function withoutUndefined(value: unknown): unknown {
  if (Object.is(value, -0)) return 0
  if (value instanceof Date || typeof value !== 'object' || value === null) return value
  if (Array.isArray(value)) return Array.from(value, withoutUndefined)
  return Object.fromEntries(
    Object.entries(value)
      .filter(([, item]) => item !== undefined)
      .map(([name, item]) => [name, withoutUndefined(item)]),
  )
}
