/** The middleware by the names of their files. */

import { cbor } from '../../middleware/cbor.ts'
import { jsonStream } from '../../middleware/json-stream.ts'
import { msgpack } from '../../middleware/msgpack.ts'
import { protobuf } from '../../middleware/protobuf.ts'
import { socks5 } from '../../middleware/socks5.ts'
import { websocket } from '../../middleware/websocket.ts'
import * as cio from '../../src/index.ts'

/** Those that need an optional package are not in `cio`. */
const all = { ...cio, cbor, jsonStream, msgpack, protobuf, socks5, websocket }

/** The function of a file: `allowList` of `allow-list`. */
export function middlewareOf(file: string): (...given: readonly unknown[]) => unknown {
  const name = file.replace(/-(\w)/g, (_, letter: string) => letter.toUpperCase())
  const found = (all as unknown as Record<string, (...given: readonly unknown[]) => unknown>)[name]
  if (!found) throw new Error(`\`${file}\`: no middleware has this name`)
  return found
}
