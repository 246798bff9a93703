/** Makes a frame format from its options, and refuses options that make no sense together. */

import { FrameChecksum } from './checksum.ts'
import { cobs } from './cobs.ts'
import { DleFormat, dleStx } from './dle.ts'
import type { FrameFormat } from './format.ts'
import { DelimiterKind } from './delimiter-kind.ts'
import { type FrameKind, type Layout, MeasureKind, SizeKind, none } from './kinds.ts'
import { LengthKind } from './length-kind.ts'
import { NumberField } from './length-field.ts'
import { MarkedFormat } from './marked.ts'
import { type Choice, OneOfFormat } from './one-of.ts'
import type { OptionCheck } from './option-check.ts'
import type { FormatOptions, Mark, Stuffing } from './options.ts'
import { digit } from './numbers.ts'
import { EscapeByte } from './escape-byte.ts'
import { FlaggedFormat } from './stuffing.ts'

const kinds = ['length', 'delimiter', 'size', 'stuffing', 'measure', 'oneOf'] as const
const around = ['start', 'end', 'checksum', 'endian', 'whole'] as const
const named: Readonly<Record<string, Stuffing>> = {
  slip: { flag: 0xc0, escape: 0xdb, map: { 0xc0: 0xdc, 0xdb: 0xdd } },
  hdlc: { flag: 0x7e, escape: 0x7d, xor: 0x20 },
}

/** @throws `ERR_CIO_OPTION` */
export function formatOf(
  check: OptionCheck,
  options: FormatOptions,
  maxLength: number,
): FrameFormat {
  const given = kinds.filter((kind) => options[kind] !== undefined)
  if (given.length > 1) {
    const names = given.map((kind) => `\`${kind}\``).join(' and ')
    throw check.refused(`${names} exclude each other; give one`)
  }
  const [kind = 'length'] = given
  if (given.length === 0 && options.end !== undefined) {
    throw check.refused(
      '`end` is not searched for; give `delimiter` for frames up to a mark, or `length` if they have one',
    )
  }
  check.boolean('whole', options.whole)
  const endian = check.endian('endian', options.endian, 'big')
  if (kind === 'oneOf') return oneOfFormat(check, options, maxLength)

  const checksum = checksumOf(check, options)
  // Only numbers have a byte order.
  if (options.endian !== undefined && kind !== 'length' && !checksum?.isUint) {
    throw check.refused(
      `\`endian\` is for a length or a checksum, and \`${kind}\` has none of its own`,
    )
  }
  if (checksum?.afterDelimiter && kind !== 'delimiter') {
    throw check.refused('`checksum.afterDelimiter` needs `delimiter`')
  }
  if (kind === 'stuffing') return stuffed(check, options, checksum)

  const start = markOf(check, 'start', options.start)
  const end = markOf(check, 'end', options.end)
  const trailer = (checksum?.width ?? 0) + end.length
  const behind = checksum?.afterDelimiter ? trailer : 0
  const { owner } = check
  const whole = options.whole ?? false
  const layout: Layout = { owner, start, end, trailer, behind, whole }
  const marked = (made: FrameKind): FrameFormat => new MarkedFormat(layout, made, checksum)
  if (kind === 'delimiter') return delimited(check, options, layout, checksum)
  if (kind === 'size') return marked(sized(check, options.size, layout, maxLength))
  if (kind === 'measure') {
    const { measure } = options
    if (typeof measure !== 'function') throw check.wrong('measure', 'a function', measure)
    return marked(new MeasureKind(layout, measure))
  }
  const field = new NumberField(check, options.length ?? 4, start.length, endian)
  if (!whole && !field.knowsHeader(start.length)) {
    throw check.refused(
      '`length` has bytes around it that the options do not say, so that Cio cannot write them; give `whole`, for messages with their header',
    )
  }
  return marked(new LengthKind(layout, field))
}

function markOf(check: OptionCheck, option: string, mark: Mark | undefined): Buffer {
  return mark === undefined ? Buffer.alloc(0) : check.mark(option, mark)
}

function checksumOf(
  check: OptionCheck,
  { checksum, endian }: FormatOptions,
): FrameChecksum | undefined {
  if (checksum === undefined) return undefined
  check.object('checksum', checksum, 'an object with `of` and `bytes`')
  return new FrameChecksum(check.within('checksum'), checksum, endian ?? 'big')
}

function delimited(
  check: OptionCheck,
  options: FormatOptions,
  layout: Layout,
  checksum: FrameChecksum | undefined,
): FrameFormat {
  if (options.end !== undefined && !checksum?.afterDelimiter) {
    throw check.refused(
      '`end` and `delimiter` exclude each other, since the delimiter is the end; only a checksum with `afterDelimiter` has an `end` after it',
    )
  }
  const given = options.delimiter
  const marks = Array.isArray(given) ? (given as readonly Mark[]) : [given as Mark]
  if (marks.length === 0) throw check.wrong('delimiter', 'at least one', given)
  const delimiters = marks.map((mark) => check.mark('delimiter', mark))
  const shown = (mark: Buffer): string => JSON.stringify(mark.toString('latin1'))
  for (const one of delimiters) {
    const first = delimiters.find((other) => {
      const place = one.indexOf(other)
      return other !== one && place >= 0 && place + other.length < one.length
    })
    if (first) {
      throw check.refused(
        `the delimiter ${shown(one)} is never found, since ${shown(first)} in it ends the frame before`,
      )
    }
    checkAgainst(check, one, checksum)
  }
  const kind = new DelimiterKind(layout, delimiters)
  return new MarkedFormat(layout, kind, checksum, () => kind.finder())
}

/** If the checksum could contain the delimiter, the frame would end too early. */
function checkAgainst(
  check: OptionCheck,
  delimiter: Buffer,
  checksum: FrameChecksum | undefined,
): void {
  if (!checksum || checksum.afterDelimiter) return
  const { isUint, digits, before } = checksum
  const isInDigits = !isUint && delimiter.every((byte) => digit(byte, 16) >= 0)
  if ((isUint && delimiter.length <= digits) || isInDigits || before.includes(delimiter)) {
    const better = isUint ? '`as: "hex"`, or `length` or `measure` to find the end' : 'another kind'
    throw check.refused(
      `the checksum may contain the delimiter, which ends the frame; give \`afterDelimiter\` if it stands after it, or ${better}`,
    )
  }
}

function sized(
  check: OptionCheck,
  size: number | undefined,
  { start, trailer, whole }: Layout,
  maxLength: number,
): FrameKind {
  const marks = start.length + trailer
  const least = Math.max(1, marks)
  if (!Number.isInteger(size) || size! < least) {
    throw check.wrong('size', `a whole number of at least ${least}`, size)
  }
  const message = whole ? size! : size! - marks
  if (message > maxLength) {
    throw check.wrong('size', `at most that of \`maxLength\`, ${maxLength}`, size)
  }
  return new SizeKind({ start } as Layout, size!)
}

function stuffed(
  check: OptionCheck,
  options: FormatOptions,
  checksum: FrameChecksum | undefined,
): FrameFormat {
  const { owner } = check
  const { stuffing } = options
  const isDle = stuffing === 'dle'
  const hasStart = (isDle || typeof stuffing === 'object') && options.start !== undefined
  for (const option of ['start', 'end', 'whole'] as const) {
    if (options[option] === undefined || (hasStart && option === 'start')) continue
    const why = option === 'whole' ? 'a message is what was escaped' : 'it has marks of its own'
    throw check.refused(`\`${option}\` and \`stuffing\` exclude each other; ${why}`)
  }
  const start = hasStart ? check.mark('start', options.start) : isDle ? dleStx : none
  if (isDle) return new DleFormat(check, checksum, start)
  if (stuffing === 'cobs') return new FlaggedFormat(owner, cobs, checksum)
  const form = typeof stuffing === 'string' ? named[stuffing] : stuffing
  check.object('stuffing', form ?? stuffing, '`slip`, `hdlc`, `cobs`, `dle`, or an object')
  const escaping = new EscapeByte(check.within('stuffing'), form!, start)
  return new FlaggedFormat(owner, escaping, checksum, start)
}

function oneOfFormat(check: OptionCheck, options: FormatOptions, maxLength: number): FrameFormat {
  for (const option of around) {
    if (options[option] === undefined) continue
    throw check.refused(`give \`${option}\` within \`oneOf\`, to each format that has it`)
  }
  const { oneOf } = options
  if (!Array.isArray(oneOf) || oneOf.length === 0) {
    throw check.wrong('oneOf', 'an array of formats', oneOf)
  }
  const choices = (oneOf as readonly FormatOptions[]).map((one, index): Choice => {
    const inside = check.within(`oneOf[${index}]`)
    check.object(`oneOf[${index}]`, one, 'the options of a format')
    inside.names(one, [...kinds, ...around])
    if (one.oneOf !== undefined) throw inside.refused('`oneOf` has no `oneOf` in it')
    const hasStart = one.stuffing !== 'dle' || one.start !== undefined
    const start = hasStart ? markOf(inside, 'start', one.start) : dleStx
    return { start, format: formatOf(inside, one, maxLength) }
  })
  for (const [index, { start }] of choices.entries()) {
    const before = choices.findIndex((other) =>
      other.start.equals(start.subarray(0, other.start.length)),
    )
    if (before >= index) continue
    throw check.refused(
      choices[before]!.start.length === 0
        ? `put oneOf[${before}] last, since it has no \`start\``
        : `oneOf[${index}] is never chosen, since its frames begin as those of oneOf[${before}]`,
    )
  }
  return new OneOfFormat(check.owner, choices)
}
