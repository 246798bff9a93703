/** Checks the options of a frame format, and names each option by its place. */

import { CioError, describe } from '../../errors.ts'
import { checkOptionNames, optionError } from '../../options.ts'
import type { Endian, Mark } from './options.ts'

/** The options at one place: those of the middleware, or of one of its `oneOf`. */
export class OptionCheck {
  readonly owner: string
  readonly #path: string

  constructor(owner: string, path = '') {
    this.owner = owner
    this.#path = path
  }

  /** The options within an option. */
  within(option: string): OptionCheck {
    return new OptionCheck(this.owner, `${this.#path}${option}.`)
  }

  /** The error of an option of the wrong value. */
  wrong(option: string, rule: string, value: unknown): CioError {
    return optionError(this.owner, `${this.#path}${option}`, rule, value)
  }

  /** The error of options that cannot be combined. */
  refused(words: string): CioError {
    const place = this.#path === '' ? '' : `${this.#path.slice(0, -1)}: `
    return new CioError('ERR_CIO_OPTION', `${this.owner}: ${place}${words}`)
  }

  names(options: object, known: readonly string[]): void {
    checkOptionNames(`${this.owner}${this.#path && `: ${this.#path.slice(0, -1)}`}`, options, known)
  }

  object(option: string, value: unknown, rule: string): void {
    const valid = typeof value === 'object' && value !== null && !Array.isArray(value)
    if (!valid) throw this.wrong(option, rule, value)
  }

  whole(option: string, value: unknown, least: number, most: number): void {
    const valid = Number.isInteger(value) && (value as number) >= least && (value as number) <= most
    if (!valid) throw this.wrong(option, `a whole number from ${least} to ${most}`, value)
  }

  oneOf(option: string, value: unknown, values: readonly unknown[]): void {
    if (values.includes(value)) return
    throw this.wrong(option, values.map((one) => `\`${String(one)}\``).join(', '), value)
  }

  boolean(option: string, value: unknown): void {
    if (value !== undefined && typeof value !== 'boolean') {
      throw this.wrong(option, 'true or false', value)
    }
  }

  endian(option: string, value: unknown, initial: Endian): Endian {
    if (value === undefined) return initial
    this.oneOf(option, value, ['big', 'little'])
    return value as Endian
  }

  /** The bytes of a mark. */
  mark(option: string, value: Mark | undefined): Buffer {
    if (value instanceof Uint8Array && value.length > 0) return Buffer.from(value)
    if (typeof value !== 'string' || value === '') {
      throw this.wrong(option, 'at least one character or byte', value)
    }
    // Not UTF-8: '\xaa\x55' would be three bytes.
    if (/^[\0-\x7f]*$/.test(value)) return Buffer.from(value)
    const rule = "ASCII, or bytes such as `Buffer.from('aa55', 'hex')`"
    throw new CioError(
      'ERR_CIO_OPTION',
      `${this.owner}: expected \`${this.#path}${option}\` to be ${rule}, got ${describe(value)}`,
    )
  }
}
