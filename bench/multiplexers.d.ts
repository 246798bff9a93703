/** The parts of packages without types that `multiplex.ts` measures. */

declare module 'multiplex' {
  import type { Duplex } from 'node:stream'
  interface Multiplex extends Duplex {
    createStream(name?: string, options?: object): Duplex
  }
  export default function multiplex(
    options: object,
    onStream?: (stream: Duplex, id: string) => void,
  ): Multiplex
}

declare module 'mux-demux/msgpack.js' {
  import type { Duplex } from 'node:stream'
  interface MuxDemux extends Duplex {
    createStream(meta: string, options?: object): Duplex
  }
  export default function muxDemux(onStream?: (stream: Duplex) => void): MuxDemux
}

declare module 'muxrpc' {
  type End = true | Error | null
  export type Source = (end: End, answer: (end: End, value?: Buffer) => void) => void
  export interface Pair {
    readonly source: Source
    readonly sink: (source: Source) => void
  }
  interface Rpc {
    readonly stream: Pair
    echo(): Pair
  }
  export default function muxrpc(remote: object | null, local: object | null, api?: object): Rpc
}

declare module 'stream-to-pull-stream' {
  import type { Duplex } from 'node:stream'
  import type { Pair } from 'muxrpc'
  const toPull: { duplex(stream: Duplex): Pair }
  export default toPull
}
