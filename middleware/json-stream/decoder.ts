/**
 * Decodes bytes to JSON values, each as soon as it is complete, with limits on length and depth.
 */

import {
  type ParsedElementInfo,
  type ParsedTokenInfo,
  type StackElement,
  TokenParser,
  TokenType,
  Tokenizer,
} from '@streamparser/json'
import { isCioError } from '../../src/errors.ts'
import { syntaxError, messageTooLong, truncatedMessage } from '../../src/messages/frame-decoder.ts'
import type { Decoder } from '../../src/messages/codec.ts'
import { PartialMessage } from '../../src/messages/partial-message.ts'
import { Input } from './input.ts'

/** Limits of a {@link ValueDecoder}. */
export interface Bounds {
  readonly maxLength: number
  readonly maxDepth: number
}

/** Creates a message from a value, and from the keys that lead to it from the root. */
export type Found<In> = (value: unknown, keys: readonly (string | number)[]) => In

const owner = 'jsonStream'
const none = Buffer.alloc(0)
const shownLength = 16
const quotes = 2
// The state of the tokenizer between two tokens.
const between = 0
const literals = new Map<TokenType, number>([
  [TokenType.TRUE, 4],
  [TokenType.FALSE, 5],
  [TokenType.NULL, 4],
])
/** The bytes that may follow a number that is a value of its own. */
const afterNumber = new Set(Buffer.from(' \t\r\n"[{'))

/** The incomplete value that the parser holds. */
class Begun extends PartialMessage {
  held = 0

  override get length(): number {
    return this.held
  }
}

/**
 * Finds the values at given paths, in the notation of the parser: `$` is the root, `$.items.*` each
 * item. It drops all other values as soon as they are complete.
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
  /** The depth of the outermost value that is kept whole (0 if there is none), and its offset. */
  #keptDepth = 0
  #keptFrom = 0
  /** The total length of the keys on the path, at each level outside a kept value. */
  readonly #keys: number[] = []
  #rootFrom = 0
  /** The offset after the last number or literal that was a value of its own. */
  #scalarEnd = -1
  #piece: Buffer = none

  constructor(paths: readonly string[], bounds: Bounds, found: Found<In>) {
    this.#bounds = bounds
    // The parser's own decoder would drop a U+FEFF at the beginning of any piece of a text.
    const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })
    Object.assign(this.#tokenizer['bufferedString'], { decoder })
    // Otherwise the tokenizer would skip a second byte order mark after the one that `Input` skips.
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
    if (!bytes) throw syntaxError(owner, 'is not UTF-8', 0, '')
    const { maxLength } = this.#bounds
    for (let at = 0; at < bytes.length;) {
      // Stop where the current value would be too long, so that the error does not depend on how
      // the input is split.
      const room = maxLength + 1 - (this.#position - this.#from)
      const piece = room < bytes.length - at ? bytes.subarray(at, at + room) : bytes.subarray(at)
      this.#piece = piece
      this.#attempt(() => this.#tokenizer.write(piece))
      at += piece.length
      this.#position += piece.length
      if (this.#position - this.#from > maxLength) throw this.#messageTooLong()
    }
    this.#piece = none
    if (!this.#input.isUtf8(bytes)) throw this.#syntax('is not UTF-8')
    const begun = this.#depth > 0 ? this.#rootFrom : this.#tokenFrom
    const isWithin = this.#depth > 0 || this.#inToken
    if (this.#input.isWithinMark) this.remainder.held = this.#input.passedOver
    else this.remainder.held = isWithin ? Math.max(1, this.#position - begun) : 0
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

  /** The offset of the current token, or of the byte outside a token. */
  get #tokenFrom(): number {
    return Math.max(0, this.#tokenizer['offset'] as number)
  }

  /** The offset of the current value or token, whose length is limited. */
  get #from(): number {
    if (this.#keptDepth > 0) return this.#keptFrom
    return this.#inToken ? this.#tokenFrom : this.#position
  }

  #token(info: ParsedTokenInfo): void {
    const { token, offset } = info
    if (this.#depth === 0) {
      this.#rootFrom = offset
      this.#checkApart(info)
    }
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
    // Outside a kept value, only the keys on the path are kept.
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

  /**
   * Checks that a number or literal stands apart from the next one. The tokenizer would read `01`
   * as 0 and 1.
   */
  #checkApart({ token, offset }: ParsedTokenInfo): void {
    const isNumber = token === TokenType.NUMBER
    const length = isNumber ? this.#tokenizer['bufferedNumber'].byteLength : literals.get(token)
    if (length === undefined) return
    if (offset === this.#scalarEnd) throw this.#notApart(offset)
    this.#scalarEnd = offset + length
    // The tokenizer ends a number at the byte after it, which is in the same piece.
    const after = isNumber ? this.#piece[this.#scalarEnd - this.#position] : undefined
    if (after !== undefined && !afterNumber.has(after)) throw this.#notApart(this.#scalarEnd)
  }

  #notApart(offset: number): Error {
    const from = offset - this.#position
    const shown = this.#piece.toString('utf8', from, from + shownLength)
    return syntaxError(owner, 'is not JSON', this.#input.passedOver + offset, shown)
  }

  /** Checks the length of a text or number, as it was sent. */
  #checkLength(buffer: 'bufferedString' | 'bufferedNumber', more: number): void {
    const { byteLength } = this.#tokenizer[buffer]
    const escaped = buffer === 'bufferedString' ? this.#tokenizer['escapedCharsByteLength'] : 0
    if (byteLength + escaped + more > this.#bounds.maxLength) throw this.#messageTooLong()
  }

  /**
   * Runs the parser. Its messages quote the input of the peer at full length, so `syntaxError`
   * shortens them.
   */
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
    // The parser's message continues with a position in its own chunk, which depends on how the
    // input was cut.
    const [why = ''] = (cause?.message ?? '').split(' at chunk position')
    return syntaxError(owner, what, at, why)
  }

  #messageTooLong(): Error {
    return messageTooLong(owner, this.#bounds.maxLength)
  }

  #truncated(): Error {
    return truncatedMessage(owner, this.remainder.held)
  }
}
