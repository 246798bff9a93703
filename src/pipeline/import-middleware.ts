/** Imports middleware by module name, resolved from the application's directory. */

import { createRequire } from 'node:module'
import { isAbsolute, join, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { Script, constants } from 'node:vm'
import { CioError, asError, describe, isCioError } from '../errors.ts'
import type { Middleware } from './middleware.ts'
import { isGenerator } from './registration.ts'

/**
 * Imports the default export of a module: a middleware, or a factory of one.
 *
 * A function is a middleware if `defineMiddleware` made it, if it has two parameters, or if it is
 * async and has one. Any other function is a factory; Cio calls it without options. If options are
 * given, the export must be a factory, and may have two parameters. The application's directory is
 * the working directory.
 *
 * @throws `ERR_CIO_LOAD`: no such module, its default export is neither, or a factory throws
 */
export async function importMiddleware(name: string, options?: object): Promise<Middleware<never>> {
  const exported = await importDefault(name)
  if (typeof exported !== 'function' || isGenerator(exported))
    throw unfit(name, `is ${describe(exported)}`)
  if (options !== undefined && Object.hasOwn(exported, 'hints')) {
    throw unfit(name, 'is a middleware and takes no options')
  }
  if (options === undefined && isMiddleware(exported)) return exported

  const made = await callFactory(name, exported, options)
  if (typeof made !== 'function' || isGenerator(made))
    throw unfit(name, `is a factory, and made ${describe(made)}`)
  return made as Middleware<never>
}

/** Whether a function is a middleware, and not a factory of one. */
export function isMiddleware(exported: Function): exported is Middleware<never> {
  // A handler that never calls `next()` has one parameter. Called as a factory, it would run.
  const least = exported instanceof AsyncFunction ? 1 : 2
  return exported.length >= least || Object.hasOwn(exported, 'hints')
}

const AsyncFunction = (async () => {}).constructor as FunctionConstructor

async function callFactory(
  name: string,
  factory: Function,
  options: object | undefined,
): Promise<unknown> {
  try {
    return await (options === undefined ? factory() : factory(options))
  } catch (thrown) {
    // Without the options themselves, which may contain secrets.
    const how = options === undefined ? 'without' : 'with its'
    throw unfit(name, `was called as a factory, ${how} options, and threw`, asError(thrown))
  }
}

function unfit(name: string, what: string, cause?: Error): CioError {
  const why = cause ? `: ${cause.message}` : ''
  // A factory that has checked its options says itself what to do.
  const rule = isCioError(cause, 'ERR_CIO_OPTION')
    ? ''
    : '; it must be a middleware or a factory of one'
  const message = `the default export of module \`${name}\` ${what}${why}${rule}`
  return new CioError('ERR_CIO_LOAD', message, { cause })
}

async function importDefault(name: string): Promise<unknown> {
  try {
    const module = await importFrom(process.cwd(), name)
    const exported = module.default
    // CommonJS that was transpiled from ESM has its default export one level down.
    const nested = (exported as { default?: unknown } | undefined)?.default
    return typeof nested === 'function' ? nested : exported
  } catch (thrown) {
    const cause = asError(thrown)
    // The rest of Node's message is a stack of files.
    const [why] = cause.message.split('\n', 1)
    const isMissing = /^(ERR_)?MODULE_NOT_FOUND$/.test((cause as NodeJS.ErrnoException).code ?? '')
    const advice = isMissing ? '; install it, or correct the name' : ''
    throw new CioError(
      'ERR_CIO_LOAD',
      `middleware \`${name}\` could not be loaded from ${process.cwd()}: ${why}${advice}`,
      { cause },
    )
  }
}

type Module = Promise<{ readonly default?: unknown }>

function importFrom(directory: string, name: string): Module {
  if (name.startsWith('file:')) return import(name) as Module
  if (name.startsWith('.') || isAbsolute(name)) {
    return import(pathToFileURL(resolve(directory, name)).href) as Module
  }
  const { resolve: find } = createRequire(join(directory, 'package.json'))
  try {
    return import(pathToFileURL(find(name)).href) as Module
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ERR_PACKAGE_PATH_NOT_EXPORTED') throw error
    // The module has exports for `import` only, which must be resolved from that directory. Node
    // prints a warning for the experimental API that does so, so it is not used for all modules.
    return new Script(`import(${JSON.stringify(name)})`, {
      filename: join(directory, 'import.js'),
      importModuleDynamically: constants.USE_MAIN_CONTEXT_DEFAULT_LOADER,
    }).runInThisContext() as Module
  }
}
