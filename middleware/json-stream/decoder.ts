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
import { Input } from './input.ts'

/** Bounds of a {@link ValueDecoder}. */
export interface Bounds {
  readonly maxLength: number
  readonly maxDepth: number
}

/** Makes a message of a value, and of the keys that lead to it from the root. */
export type Found<In> = (value: unknown, keys: readonly (string | number)[]) => In

const owner = 'jsonStream'
const quotes = 2
// The state of the tokenizer in which no token has begun.
const between = 0

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
  readonly #input = new Input()
  readonly #bounds: Bounds
  #into: In[] = []
  /** How many bytes the tokenizer has seen. */
  #position = 0
  #depth = 0
  /** The depth of the outermost value that is kept whole, 0 if none is; and where it begins. */
  #keptDepth = 0
  #keptFrom = 0
  /** Bytes of the keys that lead to what is not kept, at each level of it. */
  readonly #keys: number[] = []
  #rootFrom = 0

  constructor(paths: readonly string[], bounds: Bounds, found: Found<In>) {
    this.#bounds = bounds
    // The parser's own would drop U+FEFF wherever a piece of a text begins with it.
    const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })
    Object.assign(this.#tokenizer['bufferedString'], { decoder })
    // It would pass over a byte order mark of its own after the one that is passed over here.
    Object.assign(this.#tokenizer, { state: between })
    this.#parser = new TokenParser({ paths: [...paths], keepStack: false, separator: '' })
    this.#parser.onValue = ({ value, key, stack }: ParsedElementInfo) => {
      const keys = stack.length === 0 ? [] : [...stack.slice(1).map((outer) => outer.key!), key!]
      this.#into.push(found(value, keys))
    }
    this.#tokenizer.onToken = (token) => this.#token(token)
  }

  decode(chunk: Buffer, into: In[]): void {
    this.#into = into
    const bytes = this.#input.take(chunk)
    if (!bytes) throw syntaxError(owner, 'is not JSON', 0, '')
    const { maxLength } = this.#bounds
    for (let at = 0; at < bytes.length;) {
      // No further than where what is under way would be too long: so it is refused for the same
      // reason wherever it was cut.
      const room = maxLength + 1 - (this.#position - this.#from)
      const piece = room < bytes.length - at ? bytes.subarray(at, at + room) : bytes.subarray(at)
      this.#attempt(() => this.#tokenizer.write(piece))
      at += piece.length
      this.#position += piece.length
      if (this.#position - this.#from > maxLength) throw this.#messageTooLong()
    }
    if (!this.#input.isUtf8(bytes)) throw this.#syntax('is not UTF-8')
    const begun = this.#depth > 0 ? this.#rootFrom : this.#tokenFrom
    const isWithin = this.#depth > 0 || this.#inToken || this.#input.isWithinMark
    this.remainder.held = isWithin ? Math.max(1, this.#position - begun) : 0
  }

  end(into: In[]): void {
    this.#into = into
    try {
      this.#tokenizer.end()
    } catch (error) {
      if (isCioError(error)) throw error
      throw this.#truncated()
    }
    if (this.#depth > 0 || this.#input.isWithinMark) throw this.#truncated()
  }

  /** Whether a token has begun and not ended. */
  get #inToken(): boolean {
    return (this.#tokenizer['state'] as number) !== between
  }

  /** Where the token under way begins, or the byte that belongs to none is. */
  get #tokenFrom(): number {
    return Math.max(0, this.#tokenizer['offset'] as number)
  }

  /** Where what is under way begins, of which the length is bounded. */
  get #from(): number {
    if (this.#keptDepth > 0) return this.#keptFrom
    return this.#inToken ? this.#tokenFrom : this.#position
  }

  #token(info: ParsedTokenInfo): void {
    const { token, offset } = info
    if (this.#depth === 0) this.#rootFrom = offset
    if (token === TokenType.STRING) this.#checkLength('bufferedString', quotes)
    else if (token === TokenType.NUMBER) this.#checkLength('bufferedNumber', 0)
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
    const outer = (this.#parser['stack'] as readonly StackElement[]).at(-1)!
    if (outer.emit) {
      this.#keptDepth = this.#depth
      this.#keptFrom = info.offset
    }
    // Of what is not kept, the keys that lead to here are.
    this.#keys.push((this.#keys.at(-1) ?? 0) + String(outer.key ?? '').length)
    if (this.#keys.at(-1)! > maxLength) throw this.#messageTooLong()
  }

  #close(info: ParsedTokenInfo): void {
    if (this.#keptDepth > 0 && this.#depth === this.#keptDepth) {
      if (info.offset + 1 - this.#keptFrom > this.#bounds.maxLength) throw this.#messageTooLong()
      this.#keptDepth = 0
    }
    this.#parser.write(info)
    if (this.#keptDepth === 0) this.#keys.pop()
    this.#depth -= 1
  }

  /** Checks the length of a text or number, as it was sent. */
  #checkLength(buffer: 'bufferedString' | 'bufferedNumber', more: number): void {
    const { byteLength } = this.#tokenizer[buffer]
    const escaped = buffer === 'bufferedString' ? this.#tokenizer['escapedCharsByteLength'] : 0
    if (byteLength + escaped + more > this.#bounds.maxLength) throw this.#messageTooLong()
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
    const at = this.#input.passedOver + (this.#depth > 0 ? this.#rootFrom : this.#tokenFrom)
    return syntaxError(owner, what, at, cause?.message ?? '')
  }

  #messageTooLong(): Error {
    return messageTooLong(owner, this.#bounds.maxLength)
  }

  #truncated(): Error {
    return truncatedMessage(owner, this.remainder.held)
  }
}
