/** The errors of shared lists and trust. */

import { CioError } from 'cio'
import { quote } from 'cio/kit'
import type { Document } from './document.ts'

/** The error of a server that may not listen. */
export function noCopyError(owner: string, name: string): CioError {
  const message = `${owner}: no signed revision of ${quote(name)} was found; publish one, or keep a copy in \`file\``
  return new CioError('ERR_CIO_NO_COPY', message)
}

/** The error of a document that is not newer than the one in force. */
export function replayError(name: string, found: Document, own: Document): CioError {
  const isOlder = found.revision < own.revision
  const message = isOlder
    ? `the broker has revision ${found.revision} of ${quote(name)}, older than ${own.revision}, which is in force`
    : `there are two documents of revision ${own.revision} of ${quote(name)}; publish it once more`
  return new CioError('ERR_CIO_REPLAY', message)
}

/** The error of a revision that is not in force everywhere. */
export function notAppliedError(
  name: string,
  revision: number,
  missing: readonly string[],
): CioError {
  const message = `revision ${revision} of ${quote(name)} is not in force on ${missing.join(', ')}`
  return new CioError('ERR_CIO_NOT_APPLIED', message)
}
