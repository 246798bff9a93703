/** Reads one frame from the beginning of bytes that hold it whole: slow, obvious, by no code of `src/`. */

import type { Checksum, LengthField, Mark, Stuffing } from '../../src/index.ts'
import type { FormatOptions } from '../../src/messages/frame-formats.ts'

export interface Read {
  /** Where the frame ends. */
  readonly end: number
  readonly message: Buffer
}

/** @throws if the frame is bad or not whole */
export function readFrame(options: FormatOptions, bytes: Buffer): Read {
  const { oneOf, stuffing, checksum, endian = 'big', whole = false } = options
  if (oneOf) {
    const one = oneOf.find((format) => beginsWith(bytes, startOf(format)))
    check(one, 'start of oneOf')
    return readFrame(one!, bytes)
  }
  if (stuffing !== undefined) {
    const { length } = bytesOf(options.start)
    check(beginsWith(bytes, bytesOf(options.start)), 'start')
    const { end, content } = unstuffed(stuffing, bytes.subarray(length), length > 0)
    if (stuffing === 'dle' && length === 1)
      check(![0x03, 0x10].includes(bytes[1]!), 'a byte after DLE')
    return { end: length + end, message: checked(content, 0, 0, content.length, checksum, endian) }
  }
  const start = bytesOf(options.start)
  const endMark = bytesOf(options.end)
  check(beginsWith(bytes, start), 'start')
  const sumWidth = checksum ? checksum.bytes + bytesOf(checksum.before).length : 0

  let header = start.length
  let end: number
  let tail = endMark.length
  if (options.delimiter !== undefined) {
    const given = Array.isArray(options.delimiter) ? options.delimiter : [options.delimiter]
    const found = (given as Mark[])
      .map((mark) => bytesOf(mark))
      .map((mark) => ({ width: mark.length, at: bytes.indexOf(mark, header) }))
      .filter(({ at }) => at >= 0)
      .toSorted((a, b) => a.at + a.width - b.at - b.width || b.width - a.width)
    check(found.length > 0, 'delimiter')
    tail = found[0]!.width
    end = found[0]!.at + tail
    if (checksum?.afterDelimiter) {
      const between = tail
      end += sumWidth + endMark.length
      check(end <= bytes.length, 'checksum after the delimiter')
      const frame = bytes.subarray(0, end)
      check(endMark.equals(frame.subarray(end - endMark.length)), 'end')
      const until = end - endMark.length
      const read = checked(frame, start.length, header, until, checksum, endian, between)
      return { end, message: whole ? frame : read }
    }
  } else if (options.size !== undefined) end = options.size
  else if (options.measure) {
    end = options.measure(bytes, {}) ?? Infinity
    check(end > 0 && end >= header + sumWidth + endMark.length, 'length by measure')
  } else {
    const field = fieldOf(options.length ?? 4)
    const at = field.at ?? start.length
    const { value, width } = readField(field, bytes, at, endian)
    header = field.header ?? at + width
    const around = { frame: 0, rest: at + width, body: header + sumWidth + endMark.length }
    end = value + (field.plus ?? 0) + around[field.counts ?? 'rest']
    check(end >= header + sumWidth + endMark.length, 'length')
  }
  check(end <= bytes.length, `a frame of ${end} bytes, and there are ${bytes.length}`)
  const frame = bytes.subarray(0, end)
  check(endMark.equals(frame.subarray(end - endMark.length)), 'end')
  const message = checked(frame, start.length, header, end - tail, checksum, endian)
  return { end, message: whole ? frame : message }
}

function check(holds: unknown, part: string): void {
  if (!holds) throw new Error(part)
}

function bytesOf(mark: Mark | undefined): Buffer {
  return mark === undefined ? Buffer.alloc(0) : Buffer.from(mark)
}

/** What the frames of one of several formats begin with. */
function startOf({ start, stuffing }: FormatOptions): Buffer {
  return stuffing === 'dle' && start === undefined ? Buffer.of(0x10, 0x02) : bytesOf(start)
}

function beginsWith(bytes: Buffer, mark: Buffer): boolean {
  return mark.equals(bytes.subarray(0, mark.length))
}

function fieldOf(length: number | 'varint' | LengthField): LengthField {
  if (length === 'varint') return { as: 'varint' }
  return typeof length === 'number' ? { bytes: length as 4 } : length
}

function readField(
  field: LengthField,
  bytes: Buffer,
  at: number,
  endian: 'big' | 'little',
): { value: number; width: number } {
  if (field.as === 'varint') {
    let value = 0
    for (let width = 1; ; width++) {
      check(width <= (field.maxBytes ?? 5) && at + width <= bytes.length, 'varint')
      const byte = bytes[at + width - 1]!
      value += (byte & 0x7f) * 128 ** (width - 1)
      if (byte < 0x80) return { value, width }
    }
  }
  if (field.until !== undefined) {
    const end = bytes.indexOf(field.until, at)
    check(end > at && end - at <= (field.maxBytes ?? 10), 'digits')
    const value = readNumber(bytes.subarray(at, end), field.as, endian)
    return { value, width: end - at + field.until.length }
  }
  const width = field.bytes!
  const value = readNumber(bytes.subarray(at, at + width), field.as, field.endian ?? endian)
  if (field.mask === undefined) return { value, width }
  const bits = BigInt(value) & BigInt(field.mask)
  const zeros = /0*$/.exec(field.mask.toString(2))![0].length
  return { value: Number(bits >> BigInt(zeros)), width }
}

function readNumber(bytes: Buffer, as: string | undefined, endian: 'big' | 'little'): number {
  const text = bytes.toString('latin1')
  if (as === 'decimal') check(/^[0-9]+$/.test(text), 'decimal')
  if (as === 'hex') check(/^[0-9a-f]+$/i.test(text), 'hex')
  if (as === 'decimal' || as === 'hex') return parseInt(text, as === 'hex' ? 16 : 10)
  const ordered = endian === 'little' ? Array.from(bytes).toReversed() : Array.from(bytes)
  return ordered.reduce((number, byte) => number * 256 + byte, 0)
}

function checked(
  frame: Buffer,
  afterStart: number,
  header: number,
  until: number,
  checksum: Checksum | undefined,
  endian: 'big' | 'little',
  between = 0,
): Buffer {
  if (!checksum) {
    check(header <= until, 'no room')
    return frame.subarray(header, until)
  }
  const before = bytesOf(checksum.before)
  const at = until - checksum.bytes
  const covered = at - before.length
  check(covered - between >= header, 'no room for the checksum')
  check(before.equals(frame.subarray(covered, at)), 'before the checksum')
  const from = { frame: 0, header: afterStart, body: header }[checksum.over ?? 'frame']
  const found = readNumber(frame.subarray(at, until), checksum.as, checksum.endian ?? endian)
  const to = checksum.over === 'body' ? covered - between : covered
  const base = { uint: 256, hex: 16, decimal: 10 }[checksum.as ?? 'uint']
  const sum = checksum.of(frame.subarray(from, to))
  check(found === sum % base ** checksum.bytes, 'checksum')
  return frame.subarray(header, covered - between)
}

const named: Record<string, Stuffing> = {
  slip: { flag: 0xc0, escape: 0xdb, map: { 0xc0: 0xdc, 0xdb: 0xdd } },
  hdlc: { flag: 0x7e, escape: 0x7d, xor: 0x20 },
}

function unstuffed(
  stuffing: NonNullable<FormatOptions['stuffing']>,
  bytes: Buffer,
  isStarted: boolean,
): { end: number; content: Buffer } {
  const content: number[] = []
  if (stuffing === 'cobs') {
    let begin = 0
    while (bytes[begin] === 0) begin += 1
    const end = bytes.indexOf(0, begin)
    check(end >= 0, 'zero')
    for (let at = begin; at < end;) {
      const code = bytes[at]!
      check(at + code <= end, 'block')
      content.push(...bytes.subarray(at + 1, at + code))
      at += code
      if (code < 0xff && at < end) content.push(0)
    }
    return { end: end + 1, content: Buffer.from(content) }
  }
  if (stuffing === 'dle') {
    if (!isStarted) check(bytes[0] === 0x10 && bytes[1] === 0x02, 'DLE STX')
    let at = isStarted ? 0 : 2
    for (; !(bytes[at] === 0x10 && bytes[at + 1] === 0x03); at++) {
      check(at < bytes.length, 'DLE ETX')
      if (bytes[at] === 0x10) check(bytes[++at] === 0x10, 'DLE DLE')
      content.push(bytes[at]!)
    }
    return { end: at + 2, content: Buffer.from(content) }
  }
  const { flag, escape, xor, map = {} } = typeof stuffing === 'string' ? named[stuffing]! : stuffing
  const back = new Map(Object.entries(map).map(([byte, code]) => [code, Number(byte)]))
  let at = 0
  if (!isStarted) while (bytes[at] === flag) at += 1
  for (; bytes[at] !== flag; at++) {
    check(at < bytes.length, 'flag')
    if (bytes[at] !== escape) {
      content.push(bytes[at]!)
      continue
    }
    at += 1
    check(bytes[at] !== flag && at < bytes.length, 'escape')
    const byte = xor === undefined ? back.get(bytes[at]!) : bytes[at]! ^ xor
    check(byte !== undefined, 'escape')
    content.push(byte!)
  }
  return { end: at + 1, content: Buffer.from(content) }
}
