/** Texts that come from outside: cut to a length, and without characters that do not print. */

import { escapeText, optionError } from 'cio/kit'

const longest = 300

/** A text that may be kept and shown: at most 300 characters, those that do not print escaped. */
export function clean(text: string, most: number = longest): string {
  const cut = text.length > most ? `${text.slice(0, most - 1)}…` : text
  return escapeText(cut)
}

/** A word that a middleware chose, perhaps from what a client sent. */
export function word(text: string): string {
  return clean(text, 64)
}

/** A code, such as `ECONNRESET`; other texts become `_OTHER`. */
export function codeLabel(code: string): string {
  return /^[A-Z][A-Z0-9_]{1,63}$/.test(code) ? code : '_OTHER'
}

/**
 * Checks a string, if given.
 *
 * @throws `ERR_CIO_OPTION`
 */
export function checkText(owner: string, option: string, value: unknown): void {
  if (value === undefined || typeof value === 'string') return
  throw optionError(owner, option, 'a string', value)
}
