/** The options of `limit`, checked, with their defaults. */

import { checkCount, checkDuration, checkOptionNames } from '../../src/options.ts'
import { type Rate, checkRate } from '../../src/rates/token-bucket.ts'
import type { LimitOptions } from '../limit.ts'

const unbounded: Rate = { count: Infinity, per: 1_000 }

const names: readonly (keyof LimitOptions)[] = [
  'connections',
  'perAddress',
  'rate',
  'ratePerAddress',
  'handshakes',
  'handshakeWaitTimeout',
  'waitTimeout',
  'maxWaiting',
  'maxAddresses',
  'queued',
]

/** @throws `ERR_CIO_OPTION` */
export function checkedOptions(options: LimitOptions): Required<LimitOptions> {
  checkOptionNames('limit', options, names)
  const {
    connections = 10_000,
    perAddress = 1_000,
    rate = unbounded,
    ratePerAddress = unbounded,
    handshakes = 50,
    handshakeWaitTimeout = 10_000,
    waitTimeout = 0,
    maxWaiting = 10_000,
    maxAddresses = 100_000,
    queued = 512 * 1024 * 1024,
  } = options
  const counts = { connections, perAddress, handshakes, maxWaiting, maxAddresses, queued }
  const durations = { handshakeWaitTimeout, waitTimeout }
  const rates = { rate, ratePerAddress }
  for (const [option, count] of Object.entries(counts)) {
    checkCount('limit', option, count, option === 'maxWaiting' ? 0 : 1)
  }
  for (const [option, duration] of Object.entries(durations)) {
    checkDuration('limit', option, duration)
  }
  for (const [option, value] of Object.entries(rates)) checkRate('limit', option, value)
  return { ...counts, ...durations, ...rates }
}
