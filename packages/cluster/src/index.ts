/** `@cio/cluster`: many instances of an application. */

export {
  cluster,
  type Cluster,
  type ClusterContext,
  type ClusterOptions,
  type InstanceInfo,
  type SharedRevision,
} from './cluster.ts'
export type {
  Appended,
  Engine,
  Gap,
  Incoming,
  Letter,
  Letters,
  LettersOptions,
  RequestOptions,
  Row,
  Subscription,
  Table,
  TableOptions,
  WatchOptions,
} from './engine.ts'
export { maxPayload } from './engine.ts'
export {
  mailbox,
  type Delivery,
  type FailedLetter,
  type Mailbox,
  type MailboxOptions,
  type Mailed,
  type MailOptions,
} from './mailbox.ts'
export { memory, memoryHub, type MemoryHub } from './memory.ts'
export { decodeName, encodeName } from './names.ts'
export {
  registry,
  type Entry,
  type EvictRemoteOptions,
  type ListOptions,
  type Predecessor,
  type PresenceChange,
  type PresenceOptions,
  type ReachOptions,
  type Registration,
  type RegistrationContext,
  type Registry,
  type RegistryOptions,
  type RemoteCall,
} from './registry.ts'
export { rooms, type RoomsOptions } from './rooms.ts'
export { sharedLimit, type Limiter, type SharedLimitOptions } from './shared-limit.ts'
export {
  sharedList,
  type AppliedOptions,
  type Ed25519Key,
  type SharedList,
  type SharedListOptions,
  type SharedOptions,
  type SharedPeers,
} from './shared-list.ts'
export { sharedTrust, type SharedTrust, type SharedTrustOptions } from './shared-trust.ts'
