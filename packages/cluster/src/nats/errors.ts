/** The errors of nats.js in the words of the contract. */

import { JetStreamApiError } from '@nats-io/jetstream'
import { errors } from '@nats-io/transport-node'
import { downError, noResponderError, requestTimeoutError, staleError } from '../engine.ts'

// `wrong last sequence`, with and without the sequence.
const wrongLastSequence: readonly number[] = [10_071, 10_164]

/** The error of a request. */
export function requestError(subject: string, timeout: number, error: unknown): Error {
  const cause = (error as Error).cause
  const all: readonly unknown[] = [error, cause]
  if (all.some((one) => one instanceof errors.NoRespondersError)) return noResponderError(subject)
  if (all.some((one) => one instanceof errors.TimeoutError)) {
    return requestTimeoutError(subject, timeout)
  }
  return downError('request', error)
}

/** The error of a table: a row that has changed, or a broker without an answer. */
export function tableError(key: string, error: unknown): Error {
  if (error instanceof JetStreamApiError && wrongLastSequence.includes(error.code)) {
    return staleError(key, error)
  }
  return downError('table', error)
}
