/** The errors with which calls reject. */

import { CioError } from '../../errors.ts'
import { meaning } from '../../lifecycle/closed-errors.ts'
import type { StreamContext } from '../../lifecycle/stream-context.ts'

/** The error of a call that was not sent. */
export function unsentError(label: string, ctx: StreamContext): CioError {
  const message = `the connection with ${ctx.remote} was closed or ended before ${named(label)} was sent`
  return lost('ERR_CIO_CLOSED', message, ctx)
}

/** It was sent. */
export function answerLostError(label: string, ctx: StreamContext): CioError {
  const message = `the connection with ${ctx.remote} was lost or ended before it answered ${named(label)}; it may have acted on it or not`
  return lost('ERR_CIO_ANSWER_LOST', message, ctx)
}

function lost(code: string, message: string, ctx: StreamContext): CioError {
  return meaning(new CioError(code, message, { fault: 'remote', cause: ctx.broken }), ctx)
}

export function callTimeoutError(label: string, timeout: number, ctx: StreamContext): CioError {
  const message = `${ctx.remote} did not answer ${named(label)} within ${timeout} ms`
  return new CioError('ERR_CIO_CALL_TIMEOUT', message, { fault: 'remote' })
}

/** The error of a place in the order of calls that stays open. */
export function openPlaceError(label: string, timeout: number, ctx: StreamContext): CioError {
  const message = `${ctx.remote} did not answer ${named(label)} within twice its timeout of ${timeout} ms, and answers come in order, so the answers after it cannot be matched`
  return new CioError('ERR_CIO_CALL_TIMEOUT', message, { fault: 'remote' })
}

export function tooManyCallsError(label: string, pending: number): CioError {
  const many = `${pending} calls wait for their answers, as many as \`maxCalls\` allows`
  return new CioError('ERR_CIO_TOO_MANY_CALLS', `${named(label)} was not sent: ${many}`)
}

export function noIdError(label: string): CioError {
  const message = `${named(label)} was not sent: every id up to \`maxId\` waits for an answer`
  return new CioError('ERR_CIO_TOO_MANY_CALLS', message)
}

function named(label: string): string {
  return label === '' ? 'the request' : `\`${label}\``
}
