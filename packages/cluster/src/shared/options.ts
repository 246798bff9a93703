/** The options that `sharedList` and `sharedTrust` share. */

import type { KeyObject } from 'node:crypto'
import { checkDuration, optionError } from 'cio/kit'
import { type Ed25519Key, privateKey, publicKeys } from './document.ts'

/** Options of `sharedList()` and `sharedTrust()`. */
export interface SharedOptions {
  /**
   * The public key that signed revisions must have: Ed25519, as PEM or `KeyObject`. With several
   * keys, a signature by one of them is enough, so that you can replace a key.
   */
  readonly verifyKey: Ed25519Key | readonly Ed25519Key[]
  /**
   * The private key, only on instances that call `publish()`.
   *
   * @default none, so that `publish()` rejects
   */
  readonly signKey?: Ed25519Key
  /**
   * The path of a file for the last good copy. With it, an instance starts without a broker, and
   * refuses an older revision after a restart too.
   *
   * @default none
   */
  readonly file?: string
  /**
   * Milliseconds that `listen()` waits for a revision. Then it continues with the copy in `file`,
   * or rejects.
   *
   * @default 10_000
   */
  readonly startTimeout?: number
}

/** The options, checked and with their defaults. */
export interface SharedSettings {
  readonly keys: readonly KeyObject[]
  readonly signKey: KeyObject | undefined
  readonly file: string | undefined
  readonly startTimeout: number
}

export const sharedOptionNames: readonly string[] = ['verifyKey', 'signKey', 'file', 'startTimeout']

/**
 * Checks the options.
 *
 * @throws `ERR_CIO_OPTION`
 */
export function checkSharedOptions(owner: string, options: SharedOptions): SharedSettings {
  const { verifyKey, signKey, file, startTimeout = 10_000 } = options
  const keys = publicKeys(owner, verifyKey)
  if (file !== undefined && (typeof file !== 'string' || file === '')) {
    throw optionError(owner, 'file', 'a path', file)
  }
  checkDuration(owner, 'startTimeout', startTimeout)
  const signs = signKey === undefined ? undefined : privateKey(owner, signKey)
  return { keys, signKey: signs, file, startTimeout }
}
