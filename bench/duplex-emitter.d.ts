/** The npm package `duplex-emitter` brings no types. */
declare module 'duplex-emitter' {
  import type { EventEmitter } from 'node:events'
  import type { Duplex } from 'node:stream'

  /** Writes what is emitted, and listens to what comes. */
  interface DuplexEmitter extends EventEmitter {
    readonly read: EventEmitter
    readonly write: EventEmitter
  }

  export default function createDuplexEmitter(stream: Duplex): DuplexEmitter
}
