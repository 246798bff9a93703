/** The values of messages and calls between instances, as bytes. */

import { toUSVString } from 'node:util'
import { CioError } from 'cio'
import { isTooDeep, quote } from 'cio/kit'

/**
 * The first byte is the type of the rest. These numbers are part of the format between versions.
 */
const kinds = { bytes: 0, text: 1, json: 2, tagged: 3, nothing: 4 } as const

const deepest = 100
const noHeader = new Uint8Array()

/** Values that JSON cannot express, as `{ $: type, v: text }`. */
interface Tagged {
  readonly $: string
  readonly v?: unknown
}

/**
 * Encodes a value: bytes, a text, or any value of JSON and a few more types: `Uint8Array`, `Date`,
 * `bigint`, `undefined` and all numbers, at any depth. A header stands before it.
 *
 * @throws `ERR_CIO_ENCODE`: it contains an instance of another class, a function or a cycle
 */
export function encodeValue(value: unknown, header: Uint8Array = noHeader): Buffer {
  if (value instanceof Uint8Array) return joined(header, kinds.bytes, value)
  // UTF-8 has no half of a surrogate pair, and JSON escapes it.
  const isText = typeof value === 'string' && toUSVString(value) === value
  if (isText) return joined(header, kinds.text, value)
  if (value === undefined) return joined(header, kinds.nothing, '')
  const isPlain = isJson(value, 0)
  const text = JSON.stringify(isPlain ? value : tag(value, 0))
  return joined(header, isPlain ? kinds.json : kinds.tagged, text)
}

/**
 * The value of bytes, from `start` on.
 *
 * @throws `ERR_CIO_SYNTAX`: the bytes are not a valid value
 */
export function decodeValue(bytes: Uint8Array, start = 0): unknown {
  const { buffer, byteOffset, byteLength } = bytes
  if (byteLength <= start) throw syntaxError()
  const body = Buffer.from(buffer, byteOffset + start + 1, byteLength - start - 1)
  try {
    switch (bytes[start]) {
      case kinds.bytes:
        return body
      case kinds.text:
        return body.toString()
      case kinds.json:
        return parsed(body.toString())
      case kinds.tagged:
        return untag(parsed(body.toString()))
      case kinds.nothing:
        return undefined
    }
  } catch (cause) {
    throw syntaxError(cause)
  }
  throw syntaxError()
}

/** No instance sends what is nested deeper, and the connection of a client would refuse it. */
function parsed(text: string): unknown {
  const value: unknown = JSON.parse(text)
  if (isTooDeep(text, value)) throw syntaxError()
  return value
}

function joined(header: Uint8Array, kind: number, body: Uint8Array | string): Buffer {
  const start = header.byteLength + 1
  const bytes = Buffer.allocUnsafe(start + Buffer.byteLength(body))
  bytes.set(header)
  bytes[start - 1] = kind
  if (typeof body === 'string') bytes.write(body, start)
  else bytes.set(body, start)
  return bytes
}

/** Whether JSON preserves the value. */
function isJson(value: unknown, depth: number): boolean {
  if (value === null || typeof value === 'string' || typeof value === 'boolean') return true
  if (typeof value === 'number') return Number.isFinite(value)
  if (typeof value !== 'object' || depth > deepest) return false
  if (Array.isArray(value)) return value.every((item) => isJson(item, depth + 1))
  if (!isPlainObject(value)) return false
  for (const name of Object.keys(value)) {
    const item = (value as Record<string, unknown>)[name]
    // JSON leaves an undefined member out, as a codec would.
    if (item !== undefined && !isJson(item, depth + 1)) return false
  }
  return true
}

function tag(value: unknown, depth: number): unknown {
  if (depth > deepest) throw encodeError('a value that is nested too deeply, or contains itself')
  if (value === undefined) return { $: 'undefined' } satisfies Tagged
  if (typeof value === 'bigint') return { $: 'bigint', v: String(value) } satisfies Tagged
  if (typeof value === 'number' && !Number.isFinite(value)) {
    return { $: 'number', v: String(value) } satisfies Tagged
  }
  if (value === null || ['string', 'boolean', 'number'].includes(typeof value)) return value
  if (typeof value !== 'object') throw encodeError(`a ${typeof value}`)
  if (Array.isArray(value)) return value.map((item) => tag(item, depth + 1))
  if (value instanceof Uint8Array) {
    return { $: 'bytes', v: Buffer.from(value).toString('base64') } satisfies Tagged
  }
  if (value instanceof Date) return { $: 'date', v: value.getTime() } satisfies Tagged
  if (!isPlainObject(value)) {
    const { name } = value.constructor as { readonly name?: unknown }
    throw encodeError(`an instance of ${quote(String(name))}`)
  }
  const members = Object.entries(value)
    .filter(([, item]) => item !== undefined)
    .map(([name, item]) => [name, tag(item, depth + 1)] as const)
  if (!Object.hasOwn(value, '$')) return Object.fromEntries(members)
  return { $: 'object', v: members } satisfies Tagged
}

function untag(value: unknown): unknown {
  if (typeof value !== 'object' || value === null) return value
  if (Array.isArray(value)) return value.map(untag)
  if (!Object.hasOwn(value, '$')) {
    return Object.fromEntries(Object.entries(value).map(([name, item]) => [name, untag(item)]))
  }
  const { $: type, v } = value as Tagged
  if (type === 'undefined') return undefined
  // Null: a date that JSON could not hold.
  if (type === 'date' && (typeof v === 'number' || v === null)) return new Date(v ?? NaN)
  if (type === 'object' && Array.isArray(v)) {
    return Object.fromEntries((v as [string, unknown][]).map(([name, item]) => [name, untag(item)]))
  }
  // Only of a text: Buffer.from() allocates the length that any other value claims to have.
  if (typeof v !== 'string') throw syntaxError()
  if (type === 'bytes') return Buffer.from(v, 'base64')
  if (type === 'bigint') return BigInt(v)
  if (type === 'number') return Number(v)
  throw syntaxError()
}

function isPlainObject(value: object): boolean {
  const prototype: unknown = Object.getPrototypeOf(value)
  return prototype === Object.prototype || prototype === null
}

function encodeError(what: string): CioError {
  const message = `${what} cannot be sent to another instance; send what JSON can hold, or bytes`
  return new CioError('ERR_CIO_ENCODE', message)
}

function syntaxError(cause?: unknown): CioError {
  const message = 'another instance sent bytes that are no value'
  return new CioError('ERR_CIO_SYNTAX', message, { cause })
}
