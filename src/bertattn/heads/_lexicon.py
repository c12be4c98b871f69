"""Word lists of the coreference baselines: pronouns, gendered nouns and names, what ends the front of a noun phrase.

English, lower case. Written for these baselines from general knowledge, not copied from a resource, and kept small:
they settle the number, gender and person of mentions, and the head words where a corpus has no trees.

- `PRONOUNS`: number, gender and person of each form; None or an empty set where the form does not say.
- `MASCULINE`, `FEMININE`: kinship terms, titles and other nouns for men and women, in the singular and, where that is
  not the singular and s, in the plural. Words that may name anybody (doctor, teacher, cousin) are not in them.
- `MASCULINE_NAMES`, `FEMININE_NAMES`: given names, old and new. Names that are given to anybody are not in them.
- `PREPOSITIONS`, `RELATIVE_PRONOUNS`, `PUNCTUATION`: from the second word of a noun phrase on they end its front part.
- `TRAILING`: what may stand behind a head word without ending the front part: clitics of the possessive, quotation
  marks, and _ where texts have it for italics. Hyphens, too, end nothing: "long - term contracts".
"""

from __future__ import annotations

from typing import Final, NamedTuple

__all__: list[str] = []


class Pronoun(NamedTuple):
    """What a pronoun's form says about what it stands for."""

    number: str | None
    gender: frozenset[str]
    person: int


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_ROWS: Final = (
    ("i me my mine myself", "Sing", "", 1),
    ("we us our ours ourselves 's ’s", "Plur", "", 1),  # let's
    ("you your yours ya ye", None, "", 2),
    ("yourself thou thee thy thine thyself", "Sing", "", 2),
    ("yourselves y'all y’all", "Plur", "", 2),
    ("he him his himself", "Sing", "Masc", 3),
    ("she her hers herself", "Sing", "Fem", 3),
    ("it its itself", "Sing", "Neut", 3),
    ("they them their theirs themselves em 'em ’em", "Plur", "", 3),
    ("one oneself this", "Sing", "", 3),
    ("these those", "Plur", "", 3),
    ("who whom whoever whomever", None, "Masc Fem", 3),
    ("someone somebody anyone anybody everyone everybody nobody", "Sing", "Masc Fem", 3),
    ("something anything everything nothing", "Sing", "Neut", 3),
)
PRONOUNS: Final = {
    form: Pronoun(number, _words(gender), person) for forms, number, gender, person in _ROWS for form in forms.split()
}

MASCULINE: Final = _words(
    """
    man men boy lad guy fellow chap bloke male gentleman gentlemen sir mr mr. mister lord master king prince duke count
    earl baron emperor monsieur herr señor signor don squire esq esq. father dad daddy papa pa pop stepfather godfather
    grandfather grandpa grandad son stepson godson grandson brother stepbrother half-brother uncle nephew husband
    bridegroom groom widower bachelor boyfriend fiancé monk friar abbot pope wizard sorcerer cowboy landlord waiter
    steward actor policeman policemen fireman firemen businessman businessmen chairman chairmen congressman congressmen
    fisherman fishermen salesman salesmen spokesman spokesmen statesman statesmen nobleman noblemen clergyman clergymen
    sportsman sportsmen craftsman craftsmen postman postmen coachman coachmen footman footmen schoolboy manservant
    countryman countrymen kinsman kinsmen frenchman frenchmen englishman englishmen irishman irishmen
    """
)
FEMININE: Final = _words(
    """
    woman women girl lass gal female lady ladies madam ma'am mrs mrs. ms ms. miss misses mistress dame queen princess
    princesses duchess duchesses countess countesses baroness baronesses empress empresses madame mme mademoiselle mlle
    frau fräulein señora señorita signora signorina mother mom mommy mum mummy mama mamma ma stepmother godmother
    grandmother grandma granny daughter stepdaughter goddaughter granddaughter sister stepsister half-sister aunt auntie
    niece wife wives housewife housewives bride widow spinster maiden maid girlfriend fiancée nun abbess witch witches
    sorceress heroine goddess goddesses landlady landladies hostess hostesses waitress waitresses stewardess
    stewardesses actress actresses governess governesses nanny policewoman policewomen businesswoman businesswomen
    chairwoman chairwomen congresswoman congresswomen spokeswoman spokeswomen noblewoman noblewomen sportswoman
    sportswomen schoolgirl countrywoman kinswoman kinswomen frenchwoman englishwoman irishwoman
    """
)
MASCULINE_NAMES: Final = _words(
    """
    aaron abraham adam adrian alan albert alexander alfred andrew anthony antonio archibald arthur barack benjamin
    bernard bill bob brandon brian bruce carlos charles charlie christopher daniel david dennis donald douglas edgar
    edmund edward edwin eric ernest eugene felix ferdinand francisco frank franklin fred frederick gary geoffrey george
    gerald gilbert gregory gustav hans harold harry heinrich henry herbert herman horace hugh isaac ivan jack jacob
    james jason jeff jeremy jerry jim john jonathan jose joseph joshua juan julian karl keith kenneth kevin larry
    lawrence leonard louis luke marcus mario martin matthew maurice michael mike mohammed muhammad nathan nicholas
    oliver oscar otto patrick paul pedro peter philip pierre ralph raymond richard robert roger ronald rudolf samuel
    scott sebastian simon stephen steve steven stuart theodore thomas timothy tom victor vincent vladimir walter wilhelm
    william
    """
)
FEMININE_NAMES: Final = _words(
    """
    abigail ada adele agatha agnes alice amanda amelia amy andrea angela anita ann anna anne annie barbara beatrice
    becky bertha betty brenda bridget carol caroline catherine cecilia charlotte christina christine claire clara
    cynthia daisy deborah diana donna dora doris dorothea dorothy edith eleanor elena eliza elizabeth ella ellen elsie
    emily emma erin esther ethel eva evelyn fanny fiona flora florence frances gertrude gloria hannah harriet heather
    helen henrietta hillary ida ingrid irene isabel isabella jane janet jennifer jessica joan josephine joyce judith
    julia julie karen kate katherine kathleen laura lauren linda lisa louisa louise lucy lydia mabel madeleine margaret
    maria marie marion martha mary matilda megan melissa michelle mildred miranda miriam molly nancy natalie nora olivia
    patricia pauline penelope phoebe rachel rebecca rosa rosalind rose ruth sally sandra sarah sharon sophia sophie
    stephanie susan sylvia teresa ursula vanessa victoria virginia vivian wendy
    """
)

PREPOSITIONS: Final = _words(
    """
    aboard about above across after against along alongside amid among amongst around as at because before behind below
    beneath beside besides between beyond by concerning despite down during except for from in inside into like near of
    off on onto opposite out outside over past per regarding round since than through throughout till to toward towards
    under underneath unlike until unto up upon versus via with within without
    """
)
RELATIVE_PRONOUNS: Final = _words("who whom whose which that where when")
PUNCTUATION: Final = _words(", ; : . ? ! ... … ( ) [ ] { } -lrb- -rrb- -lsb- -rsb- -lcb- -rcb- -- --- – — /")
TRAILING: Final = _words("'s ’s ' ’ s' s’ \" `` '' “ ” ‘ _")
