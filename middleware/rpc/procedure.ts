/** A callable method, and its invocation. */

import { isThenable } from '../../src/thenable.ts'
import type { StandardSchema } from '../../src/messages/messages.ts'
import type { ObservedCall } from './observed-call.ts'
import type { RpcRequest } from './request.ts'
import { failures, rpcError } from './wire.ts'

/** A method as it is called at run time, regardless of its types. */
export type AnyMethod = (params: unknown, request: RpcRequest) => unknown

/** A method, and the schema that its parameters must satisfy. */
export interface Procedure {
  readonly method: AnyMethod
  readonly schema: StandardSchema<unknown> | undefined
}

/** Validates the parameters, and calls the method. */
export function invoke(
  procedure: Procedure,
  params: unknown,
  request: RpcRequest,
  observed: ObservedCall | undefined,
): unknown {
  if (!observed) return run(procedure, params, request)
  return observed.run(() => run(procedure, params, request))
}

function run({ method, schema }: Procedure, params: unknown, request: RpcRequest): unknown {
  if (!schema) return method(params, request)
  const checked = schema['~standard'].validate(params)
  return isThenable(checked) ? checked.then(accept) : accept(checked)

  function accept(result: Awaited<typeof checked>): unknown {
    if (!result.issues) return method(result.value, request)
    const issues = result.issues.map((issue) => issue.message)
    throw rpcError(failures.invalidParams.code, failures.invalidParams.message, issues)
  }
}
