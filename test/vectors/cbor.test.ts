/** What `cbor` makes of the examples of RFC 8949, whole and cut at every byte. */

import test, { type ExecutionContext } from 'ava'
import { cbor } from '../../middleware/cbor.ts'
import type { CioError } from '../../src/index.ts'
import { everyCut } from '../support/every-cut.ts'
import { receiveHere } from '../support/receive.ts'
import { examples, malformed, unsupported } from './cbor-items.ts'

const forms = {
  'by default': {},
  'with records': { useRecords: true },
  'with all that it can read': { useRecords: true, structuredClone: true },
}

/** Passes the error of each way to cut these bytes, before which one item came. */
async function refusals(
  t: ExecutionContext,
  hex: string,
  options: object,
  check: (error: CioError | undefined, at: string) => void,
): Promise<void> {
  // An item before it, so that it is seen to be delivered.
  for (const pieces of everyCut(Buffer.from(`01${hex}`, 'hex'))) {
    const { messages, error } = await receiveHere(cbor(options), pieces)
    const at = `${hex} in ${pieces.length}, the first of ${pieces[0]!.length} bytes`
    t.deepEqual(messages, [1], at)
    t.is(error?.fault, 'remote', at)
    check(error, at)
  }
}

for (const [form, options] of Object.entries(forms)) {
  test(`the items of appendix A are read ${form}`, async (t) => {
    for (const [hex, value] of examples) {
      for (const pieces of everyCut(Buffer.from(hex, 'hex'))) {
        const { messages, error } = await receiveHere(cbor(options), pieces)
        t.is(error, undefined, hex)
        t.deepEqual(messages, [value], hex)
      }
    }
  })

  test(`the items of appendix A are delivered one after another ${form}`, async (t) => {
    const bytes = Buffer.from(examples.map(([hex]) => hex).join(''), 'hex')
    for (const pieces of [[bytes], Array.from(bytes, (byte) => Buffer.of(byte))]) {
      const { messages, error } = await receiveHere(cbor(options), pieces)
      t.is(error, undefined)
      t.deepEqual(
        messages,
        examples.map(([, value]) => value),
      )
    }
  })

  for (const [name, hex] of Object.entries(unsupported)) {
    test(`${name} is refused ${form} as not supported`, async (t) => {
      await refusals(t, hex, options, (error, at) => {
        t.is(error?.code, 'ERR_CIO_SYNTAX', at)
        t.regex(error!.message, /not supported/, at)
      })
    })
  }

  for (const [name, group] of Object.entries(malformed)) {
    test(`${name}: refused ${form} (appendix F)`, async (t) => {
      for (const hex of group) {
        const codes = new Set<string | undefined>()
        await refusals(t, hex, options, (error) => codes.add(error?.code))
        t.is(codes.size, 1, `${hex}: ${[...codes].join()}`)
        const [code] = codes
        t.regex(code!, /^ERR_CIO_(SYNTAX|TRUNCATED|MESSAGE_TOO_LONG)$/, hex)
      }
    })
  }
}
