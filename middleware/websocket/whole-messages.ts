/** WebSocket messages as they are, without a codec. */

import { CioError } from '../../src/errors.ts'
import { defaultMaxLength } from '../../src/messages/codec.ts'
import {
  type MessagesContext,
  type MessagesOptions,
  messages,
  messagesOptionNames,
} from '../../src/messages/messages.ts'
import { checkOptionNames } from '../../src/options.ts'
import type { Middleware } from '../../src/pipeline/middleware.ts'
import type { StreamContext } from '../../src/lifecycle/stream-context.ts'

/** The context that {@link wholeMessages} adds. */
export interface WholeMessagesContext extends MessagesContext<
  string | Buffer,
  string | Uint8Array
> {}

/**
 * WebSocket messages without a codec: text is a string, binary is a `Buffer`, in both directions.
 *
 * @throws `ERR_CIO_OPTION`: an option is unknown or out of its range; in the connection,
 *   `ERR_CIO_REQUIRES`: it is not one of `websocket` with `borders`
 *
 * @example
 * import { Cio } from 'cio'
 * import { websocket, wholeMessages } from 'cio/websocket'
 *
 * const echo = new Cio()
 *   .useConnection(wholeMessages())
 *   .useConnection(({ messages }) => messages.each((message) => messages.send(message)))
 * const app = new Cio().useConnection(websocket(echo))
 */
export function wholeMessages(
  options: Omit<MessagesOptions, 'validate'> = {},
): Middleware<StreamContext, WholeMessagesContext> {
  checkOptionNames(
    name,
    options,
    messagesOptionNames.filter((option) => option !== 'validate'),
  )
  const { maxLength = defaultMaxLength } = options
  return messages<string | Buffer, string | Uint8Array>(
    {
      name,
      encoder: () => encode,
      decoder: noBorders,
      bordered: {
        maxLength,
        encoder: () => encode,
        decoder: () => (bytes, isText) => (isText ? bytes.toString() : bytes),
      },
    },
    options,
  )
}

const name = 'wholeMessages'

function encode(message: string | Uint8Array): string | Uint8Array {
  if (typeof message === 'string' || message instanceof Uint8Array) return message
  const what = `a ${typeof message} is neither a string nor bytes`
  throw new CioError('ERR_CIO_ENCODE', `${name}: ${what}; a codec such as \`json\` sends it`)
}

function noBorders({ remote }: StreamContext): never {
  const message = `${name}: the stream of ${remote} keeps no message borders; use it in the app of \`websocket\`, without a layer before it, or take a codec`
  throw new CioError('ERR_CIO_REQUIRES', message)
}
