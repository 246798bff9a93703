/** The options of `mailbox()`. */

import type { StreamContext } from 'cio'
import { checkCount, checkDuration, checkOptionNames, maxTimerDelay, optionError } from 'cio/kit'
import { leastTtl } from '../engine.ts'
import type { RegistrationContext } from '../registry/types.ts'

/** A letter, as `deliver` gets it. */
export interface Delivery<Out> {
  readonly message: Out
  /**
   * Rises with each letter of the mailbox. A device that stores the last one can drop a second
   * copy.
   */
  readonly seq: number
  /** 1 for the first try on this connection. */
  readonly attempt: number
}

/** Options of `mailbox()`. */
export interface MailboxOptions<Out, Needs extends StreamContext = StreamContext> {
  /**
   * Delivers a letter to the device of a connection. When it fulfils, the device has the letter,
   * and Cio removes it. If it rejects, Cio tries the same letter again. Let the device answer, for
   * example by `ctx.rpc.call()`.
   */
  readonly deliver: (ctx: Needs & RegistrationContext, letter: Delivery<Out>) => Promise<unknown>
  /**
   * Maximum letters that wait for one key; more are refused.
   *
   * @default 100
   */
  readonly maxLetters?: number
  /**
   * Maximum bytes that wait for all keys together; more are refused.
   *
   * @default 268_435_456
   */
  readonly maxBytes?: number
  /**
   * Milliseconds after which the broker drops a letter.
   *
   * @default 604_800_000
   */
  readonly maxAge?: number
  /**
   * Milliseconds before Cio tries again to deliver a letter; it doubles with each attempt, up to a
   * minute.
   *
   * @default 1_000
   */
  readonly retryDelay?: number
  /**
   * Milliseconds, on average, between looks into the mailbox of a connection without new letters: a
   * notice may be lost.
   *
   * @default 60_000
   */
  readonly checkInterval?: number
  /**
   * The name of these mailboxes, the same on all instances. Two mailboxes on one cluster need
   * different names.
   *
   * @default 'mailbox'
   */
  readonly name?: string
}

const known = ['deliver', 'maxLetters', 'maxBytes', 'maxAge', 'retryDelay', 'checkInterval', 'name']

/**
 * Checks the options.
 *
 * @throws `ERR_CIO_OPTION`
 */
export function checkMailboxOptions<Out, Needs extends StreamContext>(
  options: MailboxOptions<Out, Needs>,
): Required<MailboxOptions<Out, Needs>> {
  checkOptionNames('mailbox', options, known)
  const { deliver, maxLetters = 100, maxBytes = 268_435_456, maxAge = 604_800_000 } = options
  const { retryDelay = 1_000, checkInterval = 60_000, name = 'mailbox' } = options
  if (typeof deliver !== 'function') throw optionError('mailbox', 'deliver', 'a function', deliver)
  for (const [option, count] of Object.entries({ maxLetters, maxBytes })) {
    checkCount('mailbox', option, count, 1)
    if (!Number.isSafeInteger(count)) throw optionError('mailbox', option, 'finite', count)
  }
  for (const [option, time] of Object.entries({ maxAge, retryDelay, checkInterval })) {
    checkDuration('mailbox', option, time)
  }
  if (maxAge < leastTtl || maxAge === Infinity) {
    throw optionError('mailbox', 'maxAge', `at least ${leastTtl} ms, and finite`, maxAge)
  }
  if (checkInterval < 10 || checkInterval > maxTimerDelay) {
    throw optionError('mailbox', 'checkInterval', 'from 10 ms to 24 days', checkInterval)
  }
  return { deliver, maxLetters, maxBytes, maxAge, retryDelay, checkInterval, name }
}
