/**
 * Finds middleware that need an identity in runs that cannot provide one, before anything listens.
 */

import type { Refusal } from '../end-reason.ts'
import { CioError } from '../errors.ts'
import type { Peer } from './peer.ts'
import type { Hints } from '../pipeline/middleware.ts'
import type { Pipeline } from '../pipeline/pipeline.ts'

declare module '../pipeline/middleware.ts' {
  interface Hints {
    /**
     * Whether the middleware would refuse a peer now, without a connection: for
     * `server.wouldAdmit()`. Undefined if it would let the peer pass. Throws if only a connection
     * can decide.
     *
     * @default the middleware is not asked
     */
    readonly refusalOf?: (peer: Peer) => Refusal | undefined | Promise<Refusal | undefined>
  }
}

// Declared here too, so that each declaration that refers to the hint brings it along.
declare module '../pipeline/registration.ts' {
  interface SettledHints {
    readonly refusalOf?: NonNullable<Hints['refusalOf']>
  }
}

/**
 * Fails where a middleware needs `ctx.peer` and nothing in the pipeline can give one.
 *
 * @param whyNone Returns why the step `secure` gives none; undefined if it does.
 * @throws `ERR_CIO_NO_IDENTITY`: says what to add
 */
export function checkPeerNeeds(
  pipeline: Pick<Pipeline<never>, 'needing' | 'providing'>,
  whyNone: (hasStep: boolean) => string | undefined,
): void {
  const [needy] = pipeline.needing('peer')
  if (needy === undefined) return
  const providers = pipeline.providing('peer')
  // A middleware that provides it instead of Cio's step, such as `startTls`.
  if (providers.some(({ step }) => !step)) return
  const why = whyNone(providers.length > 0)
  if (why === undefined) return
  throw new CioError(
    'ERR_CIO_NO_IDENTITY',
    `\`${needy.name}\` (at ${needy.at}) would reject every connection: ${why}`,
  )
}

/** Why there is no identity if the pipeline is without Cio's own step. */
export const noSecureStep = 'the step `secure` is removed or disabled; let it stand'
