/** Bytes in, JSON values out, each as it completes; bounded in bytes and in depth. */

import {
  type ParsedElementInfo,
  type ParsedTokenInfo,
  type StackElement,
  TokenParser,
  TokenType,
  Tokenizer,
} from '@streamparser/json'
import { isCioError } from '../../src/errors.ts'
import {
  PartialMessage,
  syntaxError,
  messageTooLong,
  truncatedMessage,
} from '../../src/messages/frame-decoder.ts'
import type { Decoder } from '../../src/messages/messages.ts'

/** Bounds of a {@link ValueDecoder}. */
export interface Bounds {
  readonly maxLength: number
  readonly maxDepth: number
}

/** Makes a message of a value, and of the keys that lead to it from the root. */
export type Found<In> = (value: unknown, keys: readonly (string | number)[]) => In

const owner = 'jsonStream'
const replacement = '\ufffd'
// States of the tokenizer in which no token has begun: between two, and before the first.
const between: readonly unknown[] = [0, 29]

/** What the parser holds of a value that has begun. */
class Begun extends PartialMessage {
  held = 0

  override get length(): number {
    return this.held
  }
}

/**
 * Finds the values at given paths, in the notation of the parser: `$` is the root, `$.items.*`
 * each item. All others are forgotten as soon as they are complete.
 */
export class ValueDecoder<In> implements Decoder<In> {
  readonly remainder: Begun = new Begun()
  readonly #tokenizer: Tokenizer = new Tokenizer({ separator: '' })
  readonly #parser: TokenParser
  readonly #utf8 = new TextDecoder('utf-8', { fatal: true })
  readonly #bounds: Bounds
  #into: In[] = []
  #isUtf8 = true
  /** How many bytes came before this chunk. */
  #position = 0
  #depth = 0
  /** The depth of the outermost value that is kept whole, 0 if none is; and where it begins. */
  #keptDepth = 0
  #keptFrom = 0
  /** Where the token under way begins, at the earliest; and the value of the root. */
  #tokenFrom = 0
  #rootFrom = 0

  constructor(paths: readonly string[], bounds: Bounds, found: Found<In>) {
    this.#bounds = bounds
    // The parser's own would drop U+FEFF wherever a piece of a text begins with it.
    const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })
    Object.assign(this.#tokenizer['bufferedString'], { decoder })
    this.#parser = new TokenParser({ paths: [...paths], keepStack: false, separator: '' })
    this.#parser.onValue = ({ value, key, stack }: ParsedElementInfo) => {
      const keys = stack.length === 0 ? [] : [...stack.slice(1).map((outer) => outer.key!), key!]
      this.#into.push(found(value, keys))
    }
    this.#tokenizer.onToken = (token) => this.#token(token)
  }

  decode(chunk: Buffer, into: In[]): void {
    this.#into = into
    this.#isUtf8 &&= isValid(this.#utf8, chunk)
    this.#attempt(() => this.#tokenizer.write(chunk))
    if (!this.#isUtf8) throw this.#syntax('is not UTF-8')

    this.#position += chunk.length
    // Of a token it is known in which chunk it began, not where.
    const from = this.#keptDepth > 0 ? this.#keptFrom : this.#tokenFrom + chunk.length
    if (this.#position - from > this.#bounds.maxLength) throw this.#messageTooLong()
    const idle = this.#depth === 0 && between.includes(this.#tokenizer['state'])
    if (idle) this.#tokenFrom = this.#position
    this.remainder.held = idle ? 0 : Math.max(1, this.#position - this.#rootFrom)
  }

  end(into: In[]): void {
    this.#into = into
    try {
      this.#tokenizer.end()
    } catch (error) {
      if (isCioError(error)) throw error
      throw this.#truncated()
    }
    if (this.#depth > 0) throw this.#truncated()
  }

  #token(info: ParsedTokenInfo): void {
    const { token, value, offset } = info
    this.#tokenFrom = this.#position
    if (this.#depth === 0) this.#rootFrom = offset
    if (token === TokenType.STRING) this.#checkText(value as string)
    else if (token === TokenType.LEFT_BRACE || token === TokenType.LEFT_BRACKET) {
      return this.#open(info)
    } else if (token === TokenType.RIGHT_BRACE || token === TokenType.RIGHT_BRACKET) {
      return this.#close(info)
    }
    this.#parser.write(info)
  }

  #open(info: ParsedTokenInfo): void {
    const { maxDepth, maxLength } = this.#bounds
    this.#depth += 1
    if (this.#depth > maxDepth) throw this.#syntax(`is nested deeper than ${maxDepth}`)
    this.#parser.write(info)
    if (this.#keptDepth > 0) return
    const stack = this.#parser['stack'] as readonly StackElement[]
    if (stack.at(-1)!.emit) {
      this.#keptDepth = this.#depth
      this.#keptFrom = info.offset
    }
    // Of what is not kept, the keys that lead to here are.
    const keys = stack.reduce((sum, { key }) => sum + String(key ?? '').length, 0)
    if (keys > maxLength) throw this.#messageTooLong()
  }

  #close(info: ParsedTokenInfo): void {
    if (this.#keptDepth > 0 && this.#depth === this.#keptDepth) {
      if (info.offset + 1 - this.#keptFrom > this.#bounds.maxLength) throw this.#messageTooLong()
      this.#keptDepth = 0
    }
    this.#parser.write(info)
    this.#depth -= 1
  }

  #checkText(text: string): void {
    if (!this.#isUtf8 && text.includes(replacement)) throw this.#syntax('is not UTF-8')
    const { maxLength } = this.#bounds
    const mayBeTooLong = maxBytesPerUnit * text.length + quotes > maxLength
    if (mayBeTooLong && Buffer.byteLength(text) + quotes > maxLength) throw this.#messageTooLong()
  }

  /** Runs the parser, whose messages quote what the peer sent, uncut. */
  #attempt(parse: () => void): void {
    try {
      parse()
    } catch (error) {
      if (isCioError(error)) throw error
      throw this.#syntax('is not JSON', error as Error)
    }
  }

  #syntax(what: string, cause?: Error): Error {
    return syntaxError(owner, what, this.#rootFrom, cause?.message ?? '')
  }

  #messageTooLong(): Error {
    return messageTooLong(owner, this.#bounds.maxLength)
  }

  #truncated(): Error {
    return truncatedMessage(owner, this.remainder.held)
  }
}

const maxBytesPerUnit = 3
const quotes = 2

function isValid(decoder: InstanceType<typeof TextDecoder>, chunk: Buffer): boolean {
  try {
    decoder.decode(chunk, { stream: true })
    return true
  } catch {
    return false
  }
}
