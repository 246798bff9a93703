/** `cio/pool`: a pool of clients over several targets. */

export { Pool } from './client/pool.ts'
export { dnsTargets, srvTargets } from './client/pool/target-sources.ts'
export type {
  ConnectsClients,
  PoolCall,
  PoolEvents,
  PoolTargetState,
  UseOptions,
} from './client/pool/pool-types.ts'
export type { EjectOptions, PoolOptions } from './client/pool/options.ts'
export type { PoolTarget } from './client/pool/pool-types.ts'
export type {
  DnsTargetsOptions,
  FoundTargets,
  SrvTargetsOptions,
  TargetResolver,
  TargetSource,
} from './client/pool/target-sources.ts'
