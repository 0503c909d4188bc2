"""Names of the classes that published checkpoints were trained on."""

COCO = tuple(
    "person, bicycle, car, motorcycle, airplane, bus, train, truck, boat, traffic light, fire hydrant, stop sign,"
    " parking meter, bench, bird, cat, dog, horse, sheep, cow, elephant, bear, zebra, giraffe, backpack, "
    "umbrella, handbag, tie, suitcase, frisbee, skis, snowboard, sports ball, kite, baseball bat, baseball glove,"
    " skateboard, surfboard, tennis racket, bottle, wine glass, cup, fork, knife, spoon, bowl, banana, apple, "
    "sandwich, orange, broccoli, carrot, hot dog, pizza, donut, cake, chair, couch, potted plant, bed, dining "
    "table, toilet, tv, laptop, mouse, remote, keyboard, cell phone, microwave, oven, toaster, sink, "
    "refrigerator, book, clock, vase, scissors, teddy bear, hair drier, toothbrush"
    .split(", ")
)  # fmt: skip

# Objects365 v2 with the spelling of its annotations.
OBJECTS365 = tuple(
    "Person, Sneakers, Chair, Other Shoes, Hat, Car, Lamp, Glasses, Bottle, Desk, Cup, Street Lights, "
    "Cabinet/shelf, Handbag/Satchel, Bracelet, Plate, Picture/Frame, Helmet, Book, Gloves, Storage box, Boat, "
    "Leather Shoes, Flower, Bench, Potted Plant, Bowl/Basin, Flag, Pillow, Boots, Vase, Microphone, Necklace, "
    "Ring, SUV, Wine Glass, Belt, Moniter/TV, Backpack, Umbrella, Traffic Light, Speaker, Watch, Tie, Trash bin "
    "Can, Slippers, Bicycle, Stool, Barrel/bucket, Van, Couch, Sandals, Bakset, Drum, Pen/Pencil, Bus, Wild Bird,"
    " High Heels, Motorcycle, Guitar, Carpet, Cell Phone, Bread, Camera, Canned, Truck, Traffic cone, Cymbal, "
    "Lifesaver, Towel, Stuffed Toy, Candle, Sailboat, Laptop, Awning, Bed, Faucet, Tent, Horse, Mirror, Power "
    "outlet, Sink, Apple, Air Conditioner, Knife, Hockey Stick, Paddle, Pickup Truck, Fork, Traffic Sign, Ballon,"
    " Tripod, Dog, Spoon, Clock, Pot, Cow, Cake, Dinning Table, Sheep, Hanger, Blackboard/Whiteboard, Napkin, "
    "Other Fish, Orange/Tangerine, Toiletry, Keyboard, Tomato, Lantern, Machinery Vehicle, Fan, Green Vegetables,"
    " Banana, Baseball Glove, Airplane, Mouse, Train, Pumpkin, Soccer, Skiboard, Luggage, Nightstand, Tea pot, "
    "Telephone, Trolley, Head Phone, Sports Car, Stop Sign, Dessert, Scooter, Stroller, Crane, Remote, "
    "Refrigerator, Oven, Lemon, Duck, Baseball Bat, Surveillance Camera, Cat, Jug, Broccoli, Piano, Pizza, "
    "Elephant, Skateboard, Surfboard, Gun, Skating and Skiing shoes, Gas stove, Donut, Bow Tie, Carrot, Toilet, "
    "Kite, Strawberry, Other Balls, Shovel, Pepper, Computer Box, Toilet Paper, Cleaning Products, Chopsticks, "
    "Microwave, Pigeon, Baseball, Cutting/chopping Board, Coffee Table, Side Table, Scissors, Marker, Pie, "
    "Ladder, Snowboard, Cookies, Radiator, Fire Hydrant, Basketball, Zebra, Grape, Giraffe, Potato, Sausage, "
    "Tricycle, Violin, Egg, Fire Extinguisher, Candy, Fire Truck, Billards, Converter, Bathtub, Wheelchair, Golf "
    "Club, Briefcase, Cucumber, Cigar/Cigarette, Paint Brush, Pear, Heavy Truck, Hamburger, Extractor, Extention "
    "Cord, Tong, Tennis Racket, Folder, American Football, earphone, Mask, Kettle, Tennis, Ship, Swing, Coffee "
    "Machine, Slide, Carriage, Onion, Green beans, Projector, Frisbee, Washing Machine/Drying Machine, Chicken, "
    "Printer, Watermelon, Saxophone, Tissue, Toothbrush, Ice cream, Hotair ballon, Cello, French Fries, Scale, "
    "Trophy, Cabbage, Hot dog, Blender, Peach, Rice, Wallet/Purse, Volleyball, Deer, Goose, Tape, Tablet, "
    "Cosmetics, Trumpet, Pineapple, Golf Ball, Ambulance, Parking meter, Mango, Key, Hurdle, Fishing Rod, Medal, "
    "Flute, Brush, Penguin, Megaphone, Corn, Lettuce, Garlic, Swan, Helicopter, Green Onion, Sandwich, Nuts, "
    "Speed Limit Sign, Induction Cooker, Broom, Trombone, Plum, Rickshaw, Goldfish, Kiwi fruit, Router/modem, "
    "Poker Card, Toaster, Shrimp, Sushi, Cheese, Notepaper, Cherry, Pliers, CD, Pasta, Hammer, Cue, Avocado, "
    "Hamimelon, Flask, Mushroon, Screwdriver, Soap, Recorder, Bear, Eggplant, Board Eraser, Coconut, Tape Measur/"
    " Ruler, Pig, Showerhead, Globe, Chips, Steak, Crosswalk Sign, Stapler, Campel, Formula 1, Pomegranate, "
    "Dishwasher, Crab, Hoverboard, Meat ball, Rice Cooker, Tuba, Calculator, Papaya, Antelope, Parrot, Seal, "
    "Buttefly, Dumbbell, Donkey, Lion, Urinal, Dolphin, Electric Drill, Hair Dryer, Egg tart, Jellyfish, "
    "Treadmill, Lighter, Grapefruit, Game board, Mop, Radish, Baozi, Target, French, Spring Rolls, Monkey, "
    "Rabbit, Pencil Case, Yak, Red Cabbage, Binoculars, Asparagus, Barbell, Scallop, Noddles, Comb, Dumpling, "
    "Oyster, Table Teniis paddle, Cosmetics Brush/Eyeliner Pencil, Chainsaw, Eraser, Lobster, Durian, Okra, "
    "Lipstick, Cosmetics Mirror, Curling, Table Tennis"
    .split(", ")
)  # fmt: skip

# Objects365's class for each of COCO's, in COCO's order: the table of the authors' training code.
_OBJECTS365_OF_COCO = (
    0, 46, 5, 58, 114, 55, 116, 65, 21, 40, 176, 127, 249, 24, 56, 139, 92, 78, 99, 96, 144, 295, 178, 180, 38, 39,
    13, 43, 120, 219, 148, 173, 165, 154, 137, 113, 145, 146, 204, 8, 35, 10, 88, 84, 93, 26, 112, 82, 265, 104,
    141, 152, 234, 143, 150, 97, 2, 50, 25, 75, 98, 153, 37, 73, 115, 132, 106, 61, 163, 134, 277, 81, 133, 18, 94,
    30, 169, 70, 328, 226,
)  # fmt: skip
OBJECTS365_OF_COCO = {coco: OBJECTS365[index] for coco, index in zip(COCO, _OBJECTS365_OF_COCO, strict=True)}

# Field of a config.json: from which confidence on detections of a class count, by its name.
THRESHOLDS_FIELD = "detection_thresholds"


def default_labels(num_classes: int) -> dict[int, str]:
    """Class id to name for the class heads of the authors' checkpoints.

    Those for Objects365 have 366 rows: ids start at 1, and row 0 was never trained.
    """
    match num_classes:
        case 80:
            names = COCO
        case 365:
            names = OBJECTS365
        case 366:
            names = ("unused", *OBJECTS365)
        case _:
            names = tuple(f"class {i}" for i in range(num_classes))
    return dict(enumerate(names))
