/** The promises about messages and requests. */

import { encodeName } from '../names.ts'
import { type Checks, Collected, bytes, check, rejects, text } from './trial.ts'

const badSubjects = ['', '*', '>', 'a.*', 'a..b', '.a', 'a.', 'a b', 'a\nb', 'a\u0000', '$KV.a']
const oddNames = ['*', '>', 'a.b', '', '\u0000', '=', 'ü', 'x y', 'a\r\nPUB b', 'n'.repeat(200)]
const many = 500

export const subjects: Checks = {
  'passes messages on in order': {
    run: async (trial) => {
      const subject = trial.word()
      const taken = new Collected<string>(trial)
      trial.other.subscribe(subject, ({ payload }) => taken.add(text(payload)!))
      await trial.settle(trial.other)
      for (let at = 0; at < many; at++) trial.one.publish(subject, bytes(String(at)))
      await taken.until(({ length }) => length === many, 'the arrival of all messages')
      check(
        taken.items.every((item, at) => item === String(at)),
        'messages arrive in another order',
      )
    },
  },
  'passes messages on to its own subscribers': {
    run: async (trial) => {
      const subject = trial.word()
      const taken = new Collected<string>(trial)
      trial.one.subscribe(subject, ({ payload }) => taken.add(text(payload)!))
      trial.one.publish(subject, bytes('x'))
      await taken.until(({ length }) => length === 1, 'the arrival of its own message')
    },
  },
  'passes on nothing of other subjects': {
    run: async (trial) => {
      const [subject, other] = [trial.word(), trial.word()]
      const taken = new Collected<string>(trial)
      trial.other.subscribe(subject, ({ payload }) => taken.add(text(payload)!))
      await trial.settle(trial.other)
      trial.one.publish(`${subject}.more`, bytes('deeper'))
      trial.one.publish(other, bytes('other'))
      trial.one.publish(subject, bytes('own'))
      await taken.until(({ length }) => length > 0, 'the arrival of a message')
      check(taken.items[0] === 'own', 'a message of another subject arrived')
    },
  },
  'rejects wildcards and empty words': {
    run: async ({ one }) => {
      for (const subject of badSubjects) {
        const what = JSON.stringify(subject)
        await rejects('ERR_CIO_SUBJECT', () => one.publish(subject, bytes('')), `publish ${what}`)
        await rejects(
          'ERR_CIO_SUBJECT',
          () => one.subscribe(subject, () => {}),
          `subscribe ${what}`,
        )
        const request = (): unknown => one.request(subject, bytes(''), { timeout: 5_000 })
        await rejects('ERR_CIO_SUBJECT', request, `request ${what}`)
      }
    },
  },
  'keeps names apart': {
    run: async (trial) => {
      const word = trial.word()
      const taken = new Collected<string>(trial)
      for (const name of oddNames) {
        trial.other.subscribe(`${word}.${encodeName(name)}`, () => taken.add(name))
      }
      await trial.settle(trial.other)
      for (const name of oddNames) trial.one.publish(`${word}.${encodeName(name)}`, bytes(''))
      await taken.until(({ length }) => length >= oddNames.length, 'the arrival for each name')
      check(
        oddNames.every((name, at) => taken.items[at] === name),
        'a message for one name arrived at another',
      )
    },
  },
  'rejects a payload that is too long': {
    run: async (trial) => {
      const subject = trial.word()
      const long = Buffer.alloc(trial.one.maxPayload + 1)
      const publish = (): void => trial.one.publish(subject, long)
      await rejects('ERR_CIO_PAYLOAD_SIZE', publish, 'publish')
      const asked = trial.word()
      let refused: unknown
      trial.other.subscribe(asked, ({ reply }) => {
        refused = rejects('ERR_CIO_PAYLOAD_SIZE', () => reply(long), 'reply')
        reply(bytes(''))
      })
      await trial.settle(trial.other)
      await trial.one.request(asked, bytes(''), { timeout: 5_000 })
      await refused
      const taken = new Collected<number>(trial)
      trial.other.subscribe(subject, ({ payload }) => taken.add(payload.byteLength))
      await trial.settle(trial.other)
      trial.one.publish(subject, Buffer.alloc(trial.one.maxPayload))
      await taken.until(({ length }) => length > 0, 'the arrival of the longest payload')
      check(taken.items[0] === trial.one.maxPayload, 'the longest payload arrives whole')
    },
  },
  'passes the answer to a request': {
    run: async (trial) => {
      const subject = trial.word()
      const { other, one } = trial
      other.subscribe(subject, ({ payload, reply }) => reply(bytes(`${text(payload)}!`)))
      await trial.settle(other)
      const answer = await one.request(subject, bytes('hello'), { timeout: 5_000 })
      check(text(answer) === 'hello!', 'the answer is another one')
    },
  },
  'refuses an answer that is too long, and passes a shorter one after it': {
    run: async (trial) => {
      const subject = trial.word()
      const { other, one } = trial
      other.subscribe(subject, ({ reply }) => {
        try {
          reply(Buffer.alloc(trial.one.maxPayload + 1))
        } catch (error) {
          reply(bytes((error as { code: string }).code))
        }
      })
      await trial.settle(other)
      const answer = await one.request(subject, bytes(''), { timeout: 5_000 })
      check(text(answer) === 'ERR_CIO_PAYLOAD_SIZE', 'reply() throws ERR_CIO_PAYLOAD_SIZE')
    },
  },
  'says at once that nothing subscribes': {
    run: async (trial) => {
      const subject = trial.word()
      const request = (): unknown => trial.one.request(subject, bytes(''), { timeout: 60_000 })
      await rejects('ERR_CIO_NO_RESPONDER', request, 'a request')
      trial.other.subscribe(subject, ({ reply }) => reply(bytes(''))).unsubscribe()
      await trial.settle(trial.other)
      await rejects('ERR_CIO_NO_RESPONDER', request, 'a request after unsubscribe()')
    },
  },
  'ends a request by its timeout, and by its signal': {
    run: async (trial) => {
      const subject = trial.word()
      trial.other.subscribe(subject, () => {})
      await trial.settle(trial.other)
      const late = (): unknown => trial.one.request(subject, bytes(''), { timeout: 50 })
      await rejects('ERR_CIO_CALL_TIMEOUT', late, 'a request without an answer')
      const controller = new AbortController()
      const { signal } = controller
      const request = trial.one.request(subject, bytes(''), { timeout: 60_000, signal })
      const reason = new Error('enough')
      controller.abort(reason)
      const error: unknown = await request.catch((thrown: unknown) => thrown)
      check(error === reason, 'a request with an aborted signal rejects with its reason')
    },
  },
  'has another id after each start, and is closed in between': {
    run: async (trial) => {
      const { one, other } = trial
      check(one.instance !== other.instance, 'two engines have two ids')
      const before = one.instance
      const subject = trial.word()
      one.subscribe(subject, ({ reply }) => reply(bytes('')))
      await trial.settle(one)
      await one.close()
      check(!one.isUp, 'a closed engine is not up')
      await rejects('ERR_CIO_CLUSTER_DOWN', () => one.publish(subject, bytes('')), 'publish')
      await one.open(trial.signal)
      check(one.instance !== before, 'an engine that was opened again has another id')
      const request = (): unknown => other.request(subject, bytes(''), { timeout: 5_000 })
      await rejects('ERR_CIO_NO_RESPONDER', request, 'a request to a subscription of before')
    },
  },
}
