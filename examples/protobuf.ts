// npx tsx examples/protobuf.ts
//
// A gateway of sensors that speak Protocol Buffers, each message after its length as a varint. The
// schema is one of Google's own; those of your .proto files come from protoc-gen-es.

import { StructSchema } from '@bufbuild/protobuf/wkt'
import { protobuf } from '../middleware/protobuf.ts'
import { Cio } from '../src/index.ts'

const app = new Cio()
  .useConnection(protobuf(StructSchema, { maxLength: 10_000 }))
  .useConnection(async ({ messages }) => {
    // The number of a request comes back with its answer, so that a sensor may have several.
    for await (const { fields } of messages) {
      const { id, value } = fields
      if (id && value?.kind.case === 'numberValue') {
        const kelvin = { kind: { case: 'numberValue', value: value.kind.value + 273.15 } } as const
        await messages.send({ fields: { id, kelvin } })
      }
    }
  })

const server = await app.listen(process.env.PORT ?? 7021)
console.log(`sensors on port ${server.port}`)
