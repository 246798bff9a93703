/** The errors of a pool. */

import { CioError } from '../../errors.ts'
import type { PoolSettings } from './options.ts'
import type { PoolTargetState } from './pool-types.ts'

/** Describes the state of all targets, for the messages. */
interface Known {
  readonly states: readonly PoolTargetState[]
  readonly connected: number
}

export function poolTimeoutError(
  { waitTimeout, maxPending }: PoolSettings,
  { states, connected }: Known,
  resolveError: Error | undefined,
): CioError {
  const failed = states.filter(({ lastError }) => lastError)
  const errors = failed.map(({ place, lastError }) => `${place}: ${lastError?.message}`)
  const why =
    connected > 0
      ? `each connection has ${maxPending} uses (\`maxPending\`)`
      : [...errors, resolveError?.message].filter(Boolean).join('; ') ||
        'no target is connected yet'
  const message = `no connection was free within ${waitTimeout} ms (\`waitTimeout\`): ${why}`
  return new CioError('ERR_CIO_POOL_TIMEOUT', message, {
    fault: 'remote',
    cause: failed[0]?.lastError ?? resolveError,
  })
}

export function poolFullError(maxWaiting: number): CioError {
  const message = `${maxWaiting} uses wait for a connection, as many as \`maxWaiting\` allows`
  return new CioError('ERR_CIO_POOL_FULL', message)
}

export function lostError(): CioError {
  return new CioError('ERR_CIO_CLOSED', 'the connection was lost', { fault: 'remote' })
}

export function closedError(): CioError {
  return new CioError('ERR_CIO_CLOSED', 'the pool is closed')
}
