/** The facts that are kept of a connection that is over. */

import type { ConnectionEnd, Refusal, StreamContext } from 'cio'
import type { ByteCounts } from 'cio/kit'
import type { KeptConnection } from '../ended.ts'
import type { WatchRecord } from '../records.ts'
import { clean, word } from '../text.ts'
import type { Identities } from './identities.ts'

export function closedConnection(
  ctx: StreamContext,
  record: WatchRecord,
  { reason, by, step, why, code, error, refusal }: ConnectionEnd,
  duration: number,
  { rx, tx }: Pick<ByteCounts, 'rx' | 'tx'>,
  identities: Identities,
): KeptConnection {
  const claim = refusal?.peer
  const isAnonymous = claim?.name == null || claim.verified
  return {
    id: ctx.id,
    kind: ctx.kind,
    reason,
    by,
    step,
    why: why && word(why),
    code: code === undefined ? undefined : word(code),
    message: error && clean(error.message),
    refusal: refusal && withoutPeer(refusal),
    peer: identities.nameOf(ctx) ?? null,
    claimed: isAnonymous ? null : clean(claim.name),
    address: identities.addressOf(ctx),
    place: record.place.key,
    ended: Date.now(),
    duration,
    rx,
    tx,
    generation: ctx.generation,
    way: record.way,
    times: record.times,
  }
}

function withoutPeer(refusal: Refusal): Omit<Refusal, 'peer'> {
  const { peer: _, ...facts } = refusal
  const { step, why, verdict } = facts
  return { ...facts, step: word(step), why: word(why), ...(verdict && { verdict: word(verdict) }) }
}
