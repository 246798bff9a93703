/** Mailboxes, over any engine. */

import type { ExecutionContext } from 'ava'
import type { CioError } from 'cio'
import type { RegistrationContext } from '../../src/index.ts'
import {
  type Delivery,
  type Engine,
  type Mailbox,
  type MailboxOptions,
  encodeName,
  mailbox,
} from '../../src/index.ts'
import { encodeFrame } from '../../src/wire/frames.ts'
import { encodeValue } from '../../src/wire/values.ts'
import type { ContractOf } from '../support/engines.ts'
import { Instance } from '../support/fleet.ts'
import { heard, until } from '../support/heard.ts'

interface Post {
  readonly instance: Instance
  readonly letters: Mailbox<unknown>
  /** The letters that were delivered here, in order. */
  readonly got: string[]
}

type Deliver = (ctx: RegistrationContext, letter: Delivery<unknown>) => Promise<unknown>

/** An instance whose devices take their letters. */
async function post(
  t: ExecutionContext,
  engine: Engine,
  { deliver, ...options }: Partial<MailboxOptions<unknown>> & { deliver?: Deliver } = {},
): Promise<Post> {
  const got: string[] = []
  let letters!: Mailbox<unknown>
  const instance = await Instance.start(t, {
    cluster: { engine },
    inside: (here) => {
      letters = mailbox(here, {
        retryDelay: 1,
        deliver: async (ctx, letter) => {
          await deliver?.(ctx, letter)
          got.push(`${ctx.registration.key}: ${String(letter.message)}`)
        },
        ...options,
      })
      return letters
    },
  })
  return { instance, letters, got }
}

const numbers = (from: number, to: number): number[] =>
  Array.from({ length: to - from }, (_, at) => from + at)

/** The claims about `mailbox`. */
export function mailboxContract({ test, over, engines }: ContractOf): void {
  test(`${over}, letters wait for a device that is away, and come in order to wherever it connects`, async (t) => {
    const { make } = await engines(t)
    const one = await post(t, make())
    const other = await post(t, make())
    for (const at of numbers(0, 5)) await one.letters.send('sensor 7.*', at)
    await one.letters.send('sensor-8', 'not for 7')
    const device = await other.instance.connect('sensor 7.*')
    await until(() => other.got.length === 5)
    for (const at of numbers(5, 8)) await one.letters.send('sensor 7.*', at)
    await until(() => other.got.length === 8)
    t.deepEqual(
      other.got,
      numbers(0, 8).map((at) => `sensor 7.*: ${at}`),
    )
    await device.client.close()
    await device.closed
    await one.instance.connect('sensor 7.*')
    await one.letters.send('sensor 7.*', 'more')
    await until(() => one.got.length > 0)
    t.deepEqual(one.got, ['sensor 7.*: more'], 'what was delivered is gone')
  })

  test(`${over}, nothing that was acknowledged is lost when the broker dies, and the order stays`, async (t) => {
    const { make, down, up } = await engines(t)
    const one = await post(t, make())
    const other = await post(t, make())
    await other.instance.connect('here')
    const kept: string[] = []
    const send = async (at: number): Promise<void> => {
      try {
        await one.letters.send('away', at, { id: `a${at}` })
        await one.letters.send('here', at, { id: `h${at}` })
        kept.push(String(at))
      } catch (error) {
        t.is((error as { code?: string }).code, 'ERR_CIO_CLUSTER_DOWN')
      }
    }
    for (const at of numbers(0, 20)) await send(at)
    const falls = down()
    for (const at of numbers(20, 40)) await send(at)
    await falls
    await send(40)
    await up()
    // The one whose answer was lost is sent again, with its id.
    for (const at of numbers(41, 60)) {
      while (!kept.includes(String(at))) {
        await send(at)
        await new Promise(setImmediate)
      }
    }
    t.true(kept.length >= 39)
    t.false(kept.includes('40'))
    await other.instance.connect('away')
    for (const name of ['here', 'away']) {
      const ofName = (): string[] =>
        other.got.filter((got) => got.startsWith(name)).map((got) => got.split(' ')[1]!)
      await until(() => kept.every((at) => ofName().includes(at)))
      const first = [...new Set(ofName())]
      t.deepEqual(
        first,
        first.toSorted((a, b) => Number(a) - Number(b)),
        'in order',
      )
      // At most the one that was in flight comes twice.
      t.true(ofName().length - first.length <= 1)
    }
  })

  test(`${over}, a second letter of one id is dropped`, async (t) => {
    const { make } = await engines(t)
    const one = await post(t, make())
    const first = await one.letters.send('a', 'once', { id: 'order 1\n' })
    const second = await one.letters.send('a', 'twice', { id: 'order 1\n' })
    t.deepEqual(second, { seq: first.seq, isDuplicate: true })
    t.false(first.isDuplicate)
    t.false((await one.letters.send('b', 'other key', { id: 'order 1\n' })).isDuplicate)
    await one.letters.send('a', 'end')
    await one.instance.connect('a')
    await until(() => one.got.includes('a: end'))
    t.deepEqual(one.got, ['a: once', 'a: end'])
  })

  test(`${over}, a full mailbox refuses new letters and keeps the old ones`, async (t) => {
    const { make } = await engines(t)
    const one = await post(t, make(), { maxLetters: 2 })
    await one.letters.send('a', 1)
    await one.letters.send('a', 2)
    await t.throwsAsync(one.letters.send('a', 3), { code: 'ERR_CIO_MAILBOX_FULL' })
    await one.letters.send('b', 1)
    await one.instance.connect('a')
    await until(() => one.got.length === 2)
    t.deepEqual(one.got, ['a: 1', 'a: 2'])
    await until(() =>
      one.letters.send('a', 4).then(
        () => true,
        () => false,
      ),
    )
    await until(() => one.got.length === 3)
  })

  test(`${over}, a letter that is not delivered is tried again, and those behind it wait`, async (t) => {
    const { make } = await engines(t)
    const attempts: number[] = []
    const one = await post(t, make(), {
      deliver: async (_, { message, attempt }) => {
        if (message === 'first') attempts.push(attempt)
        if (message === 'first' && attempt < 3) throw new Error('busy')
      },
    })
    const failed = heard(one.instance.app, 'letterFailed')
    await one.instance.connect('a')
    const { seq } = await one.letters.send('a', 'first')
    await one.letters.send('a', 'second')
    const [error, letter] = await failed
    t.is(error.message, 'busy')
    t.deepEqual(letter, { key: 'a', seq, attempt: 1 })
    await until(() => one.got.length === 2)
    t.deepEqual(one.got, ['a: first', 'a: second'])
    t.deepEqual(attempts, [1, 2, 3])
  })

  test(`${over}, a letter that cannot be read is reported once, stays, and holds up no other`, async (t) => {
    const { make } = await engines(t)
    const one = await post(t, make())
    const { app, engine } = one.instance
    const bounds = { maxPerKey: 100, maxBytes: 268_435_456, maxAge: 604_800_000 }
    const box = await engine.letters('mailbox', bounds)
    const unread = {
      empty: new Uint8Array(),
      garbage: Buffer.from('no program of ours'),
      'of a later version': Buffer.from([2, 0, 0, 0, 0]),
      'of a later kind': encodeFrame({ kind: 'parcel' }, encodeValue('x')),
      'of a later value': encodeFrame({ kind: 'letter' }, Uint8Array.of(9, 1)),
    }
    const reported: string[] = []
    app.on('error', (error) => reported.push(`${(error as CioError).code} ${error.message}`))
    app.on('letterFailed', () => t.fail())
    const sent: number[] = []
    for (const [what, bytes] of Object.entries(unread)) {
      await one.letters.send('sensor-7', `before what is ${what}`)
      sent.push((await box.append('sensor-7', bytes, encodeName(what))).seq)
    }
    await one.letters.send('sensor-7', 'the last')
    const readable = [...Object.keys(unread).map((what) => `before what is ${what}`), 'the last']
    for (const again of ['', ' again']) {
      const device = await one.instance.connect('sensor-7')
      if (again) await one.letters.send('sensor-7', 'the last again')
      await until(() => one.got.at(-1) === `sensor-7: the last${again}`)
      await device.client.close()
      await device.closed
    }
    t.deepEqual(
      one.got,
      [...readable, 'the last again'].map((text) => `sensor-7: ${text}`),
    )
    t.is(reported.length, sent.length)
    for (const [at, seq] of sent.entries()) {
      t.true(
        reported[at]?.startsWith(`ERR_CIO_UNSUPPORTED letter ${seq} of \`mailbox.sensor-7\``),
        reported[at],
      )
    }
    const left: number[] = []
    for (let after = 0; ; after = left.at(-1)!) {
      const letter = await box.next('sensor-7', after)
      if (!letter) break
      left.push(letter.seq)
    }
    t.deepEqual(left, sent)
  })

  test(`${over}, a letter whose device was lost before it answered comes again elsewhere`, async (t) => {
    const { make } = await engines(t)
    let reached = (): void => {}
    const taken = new Promise<void>((resolve) => (reached = resolve))
    const one = await post(t, make(), {
      deliver: () => {
        reached()
        return new Promise(() => {})
      },
    })
    const other = await post(t, make())
    const first = await one.instance.connect('a')
    await one.letters.send('a', 'letter')
    await taken
    const second = await other.instance.connect('a')
    t.is(await first.ended, 'ERR_CIO_TAKEN_OVER')
    await until(() => other.got.length === 1)
    t.deepEqual(other.got, ['a: letter'])
    t.true(second.ctx.registration.isConfirmed)
  })

  test(`${over}, a letter that the device has taken is gone, also if its connection ends at once`, async (t) => {
    const { make } = await engines(t)
    const sleepy = new Map<unknown, () => unknown>()
    const one = await post(t, make(), {
      deliver: async (ctx) => sleepy.get(ctx)?.(),
    })
    const device = await one.instance.connect('sensor-7')
    sleepy.set(device.ctx, () => device.ctx.destroy())
    await one.letters.send('sensor-7', 'and sleeps')
    await device.closed
    const draining = await one.instance.connect('sensor-8')
    sleepy.set(draining.ctx, () => draining.ctx.close())
    await one.letters.send('sensor-8', 'and is drained')
    await draining.closed

    const other = await post(t, make())
    await other.instance.connect('sensor-7')
    await other.instance.connect('sensor-8')
    for (const name of ['sensor-7', 'sensor-8']) await one.letters.send(name, 'next')
    await until(() => other.got.length === 2)
    t.deepEqual(other.got.toSorted(), ['sensor-7: next', 'sensor-8: next'])
  })

  test(`${over}, a letter whose news was lost is found by looking`, async (t) => {
    const { make } = await engines(t)
    const engine = make()
    const publish = engine.publish.bind(engine)
    engine.publish = (subject, payload) => {
      if (!subject.startsWith('mailbox.')) publish(subject, payload)
    }
    const one = await post(t, engine, { checkInterval: 20 })
    await one.instance.connect('a')
    await one.letters.send('a', 'quiet')
    await until(() => one.got.length === 1)
    t.pass()
  })

  test(`${over}, a letter is forgotten after maxAge`, async (t) => {
    const { make } = await engines(t)
    const one = await post(t, make(), { maxAge: 1_000 })
    await one.letters.send('a', 'old')
    const box = await one.instance.engine.letters('mailbox', {
      maxPerKey: 100,
      maxBytes: 268_435_456,
      maxAge: 1_000,
    })
    await until(async () => (await box.next('a', 0)) === undefined)
    await one.letters.send('a', 'new')
    await one.instance.connect('a')
    await until(() => one.got.length > 0)
    t.deepEqual(one.got, ['a: new'])
  })
}
