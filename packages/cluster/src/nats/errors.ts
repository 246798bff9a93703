/** Translates the errors of nats.js to those of the contract. */

import { JetStreamApiError } from '@nats-io/jetstream'
import { CioError } from 'cio'
import { errors } from '@nats-io/transport-node'
import { downError, noResponderError, requestTimeoutError, staleError } from '../engine.ts'

// `wrong last sequence`, with and without the sequence.
const wrongLastSequence: readonly number[] = [10_071, 10_164]
const noReplicas = 10_074
/** More streams, or more bytes, than the broker or the account allows. */
const beyondLimits: readonly number[] = [10_002, 10_027, 10_028, 10_047, 10_113, 10_122]
const notFound = 10_059

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

/** Whether an error of JetStream has one of these codes. */
export function isApiError(
  error: unknown,
  ...codes: readonly number[]
): error is JetStreamApiError {
  return error instanceof JetStreamApiError && codes.includes(error.code)
}

/** Whether the broker has no such store: it, or an operator, has deleted it. */
export function isStoreLost(error: unknown): boolean {
  return isApiError(error, notFound)
}

/** Whether no part of JetStream took a request. */
export function isUnheard(error: unknown): boolean {
  // nats.js does not export its class.
  const { name } = error as Error
  return name === 'JetStreamNotEnabled' || error instanceof errors.NoRespondersError
}

/** The error of a store that cannot be made: waiting helps only if the broker is away. */
export function storeError(what: string, error: unknown): CioError {
  if (isUnheard(error)) {
    const message =
      'nats: the broker, or this account, has no JetStream: start `nats-server` with `-js`'
    return new CioError('ERR_CIO_OPTION', message, { cause: error })
  }
  if (isApiError(error, noReplicas)) {
    const message = 'nats: `replicas` above 1 need a cluster of brokers, and this broker is alone'
    return new CioError('ERR_CIO_OPTION', message, { cause: error })
  }
  if (isApiError(error, ...beyondLimits)) {
    const message = `nats: the broker, or this account, has no room for ${what}: ${error.message}; raise its limits, or lower \`maxBytes\``
    return new CioError('ERR_CIO_OPTION', message, { cause: error })
  }
  return brokerError(what, error)
}

/** The error of a broker that has answered with a refusal, or has not answered. */
export function brokerError(what: string, error: unknown): CioError {
  if (!(error instanceof JetStreamApiError)) return downError(what, error)
  const message = `${what}: JetStream refused: ${error.message}; see its limits and storage`
  return new CioError('ERR_CIO_CLUSTER_DOWN', message, { cause: error })
}

/** The error of a table: a row that has changed, or a broker without an answer. */
export function tableError(key: string, error: unknown): Error {
  if (isApiError(error, ...wrongLastSequence)) return staleError(key, error)
  return brokerError('table', error)
}
