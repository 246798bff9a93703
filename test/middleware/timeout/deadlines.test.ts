import test from 'ava'
import { Deadlines, type Bounds } from '../../../middleware/timeout/deadlines.ts'
import type { Traffic } from '../../../middleware/timeout/traffic.ts'

const unbounded: Bounds = {
  handshake: Infinity,
  firstByte: Infinity,
  idle: Infinity,
  write: Infinity,
  lifetime: Infinity,
}
const silent: Traffic = {
  read: 0,
  sent: 0,
  waiting: false,
  spoken: false,
  encrypted: false,
  handshaking: false,
}

/** Looks whenever the watch wants to, until a bound is overstepped: which, and when. */
function watch(
  bounds: Partial<Bounds>,
  traffic: (now: number) => Partial<Traffic>,
  until = 10_000,
): [bound: keyof Bounds | undefined, now: number] {
  const at = (now: number): Traffic => ({ ...silent, ...traffic(now) })
  const watching = new Deadlines({ ...unbounded, ...bounds }, 0, at(0))
  let now = 0
  while (now < until) {
    const delay = watching.delay(now)
    if (delay === Infinity) break
    now += delay
    const overstepped = watching.check(now, at(now))
    if (overstepped) return [overstepped, now]
  }
  return [undefined, now]
}

test('silence is idle once its time has passed', (t) => {
  t.deepEqual(
    watch({ idle: 1_000 }, () => ({})),
    ['idle', 1_000],
  )
})

test('a byte starts the time of idle anew, and it ends a quarter late at most', (t) => {
  for (let last = 1; last < 1_000; last += 13) {
    const [bound, now] = watch({ idle: 1_000 }, (time) => ({ read: time >= last ? 1 : 0 }))
    t.is(bound, 'idle')
    t.true(now >= last + 1_000 && now <= last + 1_250, `${last} ${now}`)
  }
})

for (const [direction, count] of [
  ['the peer', 'read'],
  ['this side', 'sent'],
] as const) {
  test(`a connection over which ${direction} sends a byte now and then is not idle`, (t) => {
    const [bound] = watch({ idle: 1_000 }, (now) => ({ [count]: Math.floor(now / 900) }))
    t.is(bound, undefined)
  })
}

test('a peer that has said nothing is silent once its time has passed', (t) => {
  t.deepEqual(
    watch({ firstByte: 1_000 }, () => ({})),
    ['firstByte', 1_000],
  )
})

test('a peer that has said something is not asked for its first byte any more', (t) => {
  const [bound, now] = watch({ firstByte: 1_000 }, (time) => ({ spoken: time > 600 }))
  // Nothing is left to look for.
  t.deepEqual([bound, now], [undefined, 750])
})

test('the time of the first byte begins after the handshake', (t) => {
  const [bound, now] = watch({ firstByte: 1_000 }, (time) => {
    const encrypted = time > 5_000
    return { spoken: !encrypted, encrypted, handshaking: !encrypted }
  })
  t.is(bound, 'firstByte')
  t.true(now >= 6_000 && now <= 6_500, String(now))
})

test('a peer that has spoken has to speak again after it was upgraded to TLS', (t) => {
  const [bound, now] = watch({ firstByte: 1_000, idle: 4_000 }, (time) => {
    return time > 5_000 ? { encrypted: true, read: time } : { spoken: true, read: time }
  })
  t.is(bound, 'firstByte')
  t.true(now >= 6_000 && now <= 7_250, String(now))
})

test('a handshake ends once its time has passed, however much is said in it', (t) => {
  const [bound, now] = watch({ handshake: 1_000, idle: 500 }, (time) => {
    return { handshaking: true, read: time }
  })
  t.is(bound, 'handshake')
  t.true(now >= 1_000 && now <= 1_250)
})

test('the time before a handshake does not count', (t) => {
  const [bound, now] = watch({ handshake: 1_000 }, (time) => ({ handshaking: time > 5_000 }))
  t.is(bound, 'handshake')
  t.true(now >= 6_000 && now <= 6_500)
})

test('what waits while the peer takes nothing is stuck once its time has passed', (t) => {
  t.deepEqual(
    watch({ write: 1_000 }, () => ({ waiting: true, sent: 5 })),
    ['write', 1_000],
  )
})

test('a peer that takes a little now and then is not stuck', (t) => {
  const [bound] = watch({ write: 1_000 }, (now) => ({ waiting: true, sent: now >> 9 }))
  t.is(bound, undefined)
})

test('a peer is not stuck while nothing waits for it', (t) => {
  const [bound] = watch({ write: 1_000 }, () => ({ sent: 5 }))
  t.is(bound, undefined)
})

test('lifetime is told exactly, and once', (t) => {
  const watching = new Deadlines({ ...unbounded, lifetime: 1_234 }, 0, silent)
  t.is(watching.delay(0), 1_234)
  t.is(watching.check(1_233, silent), undefined)
  t.is(watching.check(1_234, silent), 'lifetime')
  t.is(watching.check(9_999, silent), undefined)
  t.is(watching.delay(9_999), Infinity)
})

test('a connection without any bound is not looked at', (t) => {
  t.is(new Deadlines(unbounded, 0, silent).delay(0), Infinity)
})
